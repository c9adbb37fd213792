//go:build unix

package listener

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkTrackedOverBare prints the throughput of a tracked listener as a share of a bare one's, and that with
// MaxAge as a share of that without. Blocks of requests alternate, and the faster blocks are compared, so that a
// noisy machine troubles all alike.
func BenchmarkTrackedOverBare(b *testing.B) {
	const block = 10
	for _, x := range exchanges(b) {
		b.Run(x.name, func(b *testing.B) {
			wires := [3]*wire{x.serve(b, untracked), x.serve(b, 0), x.serve(b, time.Hour)}
			var took [3][]time.Duration
			for n := 0; b.Loop(); n++ {
				for j := range wires {
					i := (n + j) % 3
					start := time.Now()
					for range block {
						wires[i].roundTrip()
					}
					took[i] = append(took[i], time.Since(start))
				}
			}
			var fast [3]float64
			for i := range took {
				slices.Sort(took[i])
				fast[i] = float64(took[i][len(took[i])/5])
			}
			b.ReportMetric(fast[0]/fast[1], "tracked/bare")
			b.ReportMetric(fast[1]/fast[2], "aged/tracked")
		})
	}
}
