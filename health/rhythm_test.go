package health

import (
	"testing"
	"time"
)

func TestRhythmOfGaps(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for _, tc := range []struct {
		name     string
		gaps     []time.Duration
		interval time.Duration
		voices   int
	}{
		{"nothing yet", nil, 0, 0},
		{"seen twice", []time.Duration{2 * s}, 0, 1},
		{"seen three times", []time.Duration{2 * s, 2 * s}, 2 * s, 1},
		{"jitter", []time.Duration{1900 * ms, 2100 * ms, 2050 * ms, 1950 * ms, 2 * s, 1900 * ms, 2010 * ms, 2040 * ms}, 2050 * ms, 1},
		{"a lost probe", []time.Duration{2 * s, 2 * s, 2 * s, 4 * s, 2 * s, 2 * s}, 2 * s, 1},
		{"rechecks after a probe lost on the way", []time.Duration{2 * s, 2 * s, 2 * s, 200 * ms, 200 * ms, 2 * s, 2 * s, 2 * s}, 2 * s, 1},
		{"set to be slower", []time.Duration{2 * s, 2 * s, 2 * s, 2 * s, 2 * s, 2 * s, 10 * s, 10 * s}, 0, 1},
		{"slower for good", []time.Duration{2 * s, 2 * s, 2 * s, 10 * s, 10 * s, 10 * s, 10 * s, 10 * s, 10 * s}, 10 * s, 1},
		{"two workers, a short history", []time.Duration{100 * ms, 1900 * ms, 100 * ms, 1900 * ms}, 0, 1},
		{"two workers", []time.Duration{100 * ms, 1900 * ms, 100 * ms, 1900 * ms, 100 * ms, 1900 * ms, 100 * ms, 1900 * ms}, 2 * s, 2},
		{"two workers side by side", []time.Duration{0, 2 * s, 0, 2 * s, 0, 2 * s, 0, 2 * s}, 2 * s, 2},
		{"two workers at even distances", []time.Duration{s, s, s, s, s, s, s, s}, s, 1},
		{"three workers", []time.Duration{s, 2 * s, 3 * s, s, 2 * s, 3 * s, s, 2 * s}, 6 * s, 3},
		{"a person", []time.Duration{5 * s, 40 * s, 100 * s, 3 * s}, 0, 1},
		{"a person who comes back", []time.Duration{2 * s, 2 * s, 2 * s, time.Hour}, 0, 0},
		{"all at once", []time.Duration{0, 0, 0, 0}, 0, 1},
	} {
		var r rhythm
		for _, gap := range tc.gaps {
			r.learn(gap)
		}
		if r.interval != tc.interval || r.voices != tc.voices {
			t.Errorf("%s: interval %v, voices %d; want %v, %d", tc.name, r.interval, r.voices, tc.interval, tc.voices)
		}
	}
}
