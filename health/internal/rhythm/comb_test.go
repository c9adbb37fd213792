package rhythm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// pause is how long none of so many a second comes.
func pause(dice *rand.Rand, rate float64) time.Duration {
	return time.Duration(float64(time.Second) / rate * dice.ExpFloat64())
}

// The comb itself, over a range of crowds. Where it finds none, a crowd's rhythm is unknown; what matters is
// that it finds no other, so that nobody is waited for who isn't there.
func TestTheSlowestRhythmOfACrowd(t *testing.T) {
	for _, tc := range []struct {
		rate          float64
		inter, jitter time.Duration
		history       time.Duration
		found         bool
	}{
		{1, 2 * time.Second, time.Millisecond, 40 * time.Second, true},
		{5, 2 * time.Second, time.Millisecond, 40 * time.Second, true},
		{5, 2 * time.Second, 5 * time.Millisecond, 90 * time.Second, true},
		{10, time.Second, time.Millisecond, 40 * time.Second, true},
		{5, 0, 0, 100 * time.Second, false},
		{1, 0, 0, 100 * time.Second, false},
		{0.3, 0, 0, 300 * time.Second, false},
	} {
		wrong, dice := 0, rand.New(rand.NewPCG(1, 1))
		for range 100 {
			var times []time.Duration
			for at := time.Duration(0); at < tc.history; at += pause(dice, tc.rate) {
				times = append(times, at)
			}
			for at := time.Duration(0); tc.found && at < tc.history; at += tc.inter - tc.jitter +
				time.Duration(dice.Int64N(int64(2*tc.jitter))) {
				times = append(times, at)
			}
			slices.Sort(times)
			got, _ := slowest(times[max(0, len(times)-maxTimes):])
			if (got > 0) != tc.found || (got-tc.inter).Abs() > tc.inter/20 {
				wrong++
			}
		}
		if wrong > 10 {
			t.Errorf("%+v: %d of 100 wrong", tc, wrong)
		}
	}
}

// The search is done with the lock held.
func BenchmarkSlowest(b *testing.B) {
	for _, rate := range []float64{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(rate), func(b *testing.B) {
			var times []time.Duration
			dice := rand.New(rand.NewPCG(1, 2))
			for at := time.Duration(0); len(times) < maxTimes; at += pause(dice, rate) {
				times = append(times, at)
			}
			for b.Loop() {
				slowest(times)
			}
		})
	}
}
