//go:build unix

package listener

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkTrackedOverBare prints the throughput of a tracked listener as a share of a bare one's, that with MaxAge as
// a share of that without, and that behind a swap as a share of a bare one's. Blocks of requests alternate, and the
// faster blocks are compared, so that a noisy machine troubles all alike.
func BenchmarkTrackedOverBare(b *testing.B) {
	const block = 16
	for _, x := range exchanges(b) {
		b.Run(x.name, func(b *testing.B) {
			var wires []*wire
			for how := range asMoved + 1 {
				if how < asMoved || x.network == "tcp" {
					wires = append(wires, x.serve(b, how))
				}
			}
			took := make([][]time.Duration, len(wires))
			for n := 0; b.Loop(); n++ {
				for j := range wires {
					i := (n + j) % len(wires)
					start := time.Now()
					for range block {
						wires[i].roundTrip()
					}
					took[i] = append(took[i], time.Since(start))
				}
			}
			fast := func(how way) float64 {
				slices.Sort(took[how])
				return float64(took[how][len(took[how])/5])
			}
			b.ReportMetric(fast(asBare)/fast(asTracked), "tracked/bare")
			b.ReportMetric(fast(asTracked)/fast(asAged), "aged/tracked")
			if len(wires) > int(asMoved) {
				b.ReportMetric(fast(asBare)/fast(asMoved), "moved/bare")
			}
		})
	}
}
