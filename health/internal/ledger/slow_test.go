package ledger

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/baton-go/baton/health/internal/rhythm"
)

// People ask now and then, and a job each quarter of an hour: with it the next process would refuse the whole ledger.
func TestARhythmBeyondTheLongestGapIsNone(t *testing.T) {
	l, dice := New(), rand.New(rand.NewPCG(1, 1))
	const every = 15 * time.Minute
	for at, beat := time.Duration(0), every; at < 8*time.Hour; {
		at += time.Duration(float64(time.Minute) * dice.ExpFloat64())
		for ; beat < at; beat += every {
			l.Seen(ping(1), beat, 0)
		}
		l.Seen(ping(1), at, 0)
		if at > 4*time.Hour {
			if _, err := Parse(l.Encode(at)); err != nil {
				t.Fatalf("after %v: %v", at, err)
			}
		}
	}
	for p := range l.Probers() {
		if p.Interval() > rhythm.LongestGap {
			t.Errorf("%v", p.Interval())
		}
	}
}
