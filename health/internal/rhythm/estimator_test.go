package rhythm

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
	}{
		{"nothing yet", nil, 0},
		{"seen twice", []time.Duration{2 * s}, 0},
		{"seen three times", []time.Duration{2 * s, 2 * s}, 2 * s},
		{"jitter",
			[]time.Duration{1900 * ms, 2100 * ms, 2050 * ms, 1950 * ms,
				2 * s, 1900 * ms, 2010 * ms, 2040 * ms}, 2050 * ms},
		{"a lost probe", []time.Duration{2 * s, 2 * s, 2 * s, 4 * s, 2 * s, 2 * s}, 2 * s},
		{"rechecks after a probe lost on the way",
			[]time.Duration{2 * s, 2 * s, 2 * s, 200 * ms, 200 * ms, 2 * s, 2 * s, 2 * s}, 2 * s},
		{"set to be slower", []time.Duration{2 * s, 2 * s, 2 * s, 2 * s, 2 * s, 2 * s, 10 * s, 10 * s}, 0},
		{"slower for good",
			[]time.Duration{2 * s, 2 * s, 2 * s, 10 * s, 10 * s, 10 * s, 10 * s, 10 * s, 10 * s}, 10 * s},
		{"two workers, a short history", []time.Duration{100 * ms, 1900 * ms, 100 * ms, 1900 * ms}, 0},
		{"two workers",
			[]time.Duration{100 * ms, 1900 * ms, 100 * ms, 1900 * ms, 100 * ms, 1900 * ms,
				100 * ms, 1900 * ms, 100 * ms}, 2 * s},
		{"two workers side by side", []time.Duration{0, 2 * s, 0, 2 * s, 0, 2 * s, 0, 2 * s}, 2 * s},
		{"two workers at even distances", []time.Duration{s, s, s, s, s, s, s, s}, s},
		{"a person", []time.Duration{5 * s, 40 * s, 100 * s, 3 * s}, 0},
		{"a person who comes back", []time.Duration{2 * s, 2 * s, 2 * s, time.Hour}, 0},
		{"all at once", []time.Duration{0, 0, 0, 0}, 0},
	} {
		var r Estimator
		now := time.Hour
		r.Arrive(now)
		for _, gap := range tc.gaps {
			now += gap
			r.Arrive(now)
		}
		r.Analyze()
		if got := r.Interval(); got != tc.interval {
			t.Errorf("%s: interval %v, want %v", tc.name, got, tc.interval)
		}
	}
}
