//go:build unix && !race

package listener

import (
	"math"
	"runtime"
	"testing"
)

// Under the race detector sync.Pool forgets at random, so there this test would count noise.
func TestTrackingAllocatesNothingPerRequest(t *testing.T) {
	const requests, rounds = 300, 6
	for _, x := range exchanges(t) {
		t.Run(x.name, func(t *testing.T) {
			least := [3]float64{math.Inf(1), math.Inf(1), math.Inf(1)}
			least2 := least
			wires := []*wire{x.serve(t, asBare), x.serve(t, asAged)}
			if x.network == "tcp" {
				wires = append(wires, x.serve(t, asMoved))
			}
			for range rounds { // the least of several: what else the process does comes on top
				for i, w := range wires {
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					for range requests {
						w.roundTrip()
					}
					runtime.ReadMemStats(&after)
					least[i] = min(least[i], float64(after.Mallocs-before.Mallocs)/requests)
					least2[i] = min(least2[i], float64(after.TotalAlloc-before.TotalAlloc)/requests)
				}
			}
			t.Logf("bare, tracked, moved: %.2f allocations, %.0f bytes", least, least2)
			for i := range wires {
				if least[i]-least[0] > 0.5 || least2[i]-least2[0] > 256 {
					t.Errorf("%s costs %.2f allocations, %.0f bytes per request", []string{"", "tracking", "a move"}[i],
						least[i]-least[0], least2[i]-least2[0])
				}
			}
		})
	}
}
