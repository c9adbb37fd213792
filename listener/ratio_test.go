//go:build unix

package listener

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkTrackedOverBare prints the throughput of a tracked listener as a share of a bare one's. Blocks of
// requests to either alternate, and the faster blocks of both are compared, so that a noisy machine troubles
// both alike.
func BenchmarkTrackedOverBare(b *testing.B) {
	const block = 10
	for _, x := range exchanges(b) {
		b.Run(x.name, func(b *testing.B) {
			wires := [2]*wire{x.serve(b, false), x.serve(b, true)}
			var took [2][]time.Duration
			for n := 0; b.Loop(); n++ {
				for j := range wires {
					i := (n + j) % 2
					start := time.Now()
					for range block {
						wires[i].roundTrip()
					}
					took[i] = append(took[i], time.Since(start))
				}
			}
			var fast [2]float64
			for i := range took {
				slices.Sort(took[i])
				fast[i] = float64(took[i][len(took[i])/5])
			}
			b.ReportMetric(fast[0]/fast[1], "tracked/bare")
		})
	}
}
