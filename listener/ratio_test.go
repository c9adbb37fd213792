//go:build unix

package listener

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"
)

// BenchmarkTrackedOverBare prints the throughput of a tracked listener as a share of a bare one's, that with MaxAge as
// a share of that without, and that behind a swap as a share of a bare one's. Blocks of requests alternate, so that a
// noisy machine troubles all alike. A block is so long that little depends on what its predecessor has left: threads
// that are awake, and warm caches.
func BenchmarkTrackedOverBare(b *testing.B) {
	const block = 256
	for _, x := range exchanges(b) {
		b.Run(x.name, func(b *testing.B) {
			var wires []*wire
			for how := range asMoved + 1 {
				if how < asMoved || x.network == "tcp" {
					wires = append(wires, x.serve(b, how))
				}
			}
			took := alternate(b, len(wires), block, func(i int) { wires[i].roundTrip() })
			b.ReportMetric(median(took[asBare])/median(took[asTracked]), "tracked/bare")
			b.ReportMetric(median(took[asTracked])/median(took[asAged]), "aged/tracked")
			if len(wires) > int(asMoved) {
				b.ReportMetric(median(took[asBare])/median(took[asMoved]), "moved/bare")
			}
		})
	}
}

// alternate runs blocks of each of n things in turn, and returns how long each thing's blocks took.
func alternate(b *testing.B, n, block int, do func(i int)) [][]time.Duration {
	took := make([][]time.Duration, n)
	for begin := 0; b.Loop(); begin++ {
		for j := range n {
			i := (begin + j) % n
			start := time.Now()
			for range block {
				do(i)
			}
			took[i] = append(took[i], time.Since(start))
		}
	}
	return took
}

func median(took []time.Duration) float64 {
	slices.Sort(took)
	return float64(took[len(took)/2])
}

// BenchmarkHandshakeOverBare prints what a handshake costs at a TLSListener as a share of one at crypto/tls's: the time
// of a new connection, the first answer on it and its end, with the client's part, which is the same for both.
func BenchmarkHandshakeOverBare(b *testing.B) {
	const block = 4
	for _, x := range exchanges(b) {
		if x.name != "get13" && x.name != "get12" {
			continue
		}
		for _, resumed := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/resumed=%t", x.name, resumed), func(b *testing.B) {
				var wires [2]*wire
				var configs [2]*tls.Config
				for how := range wires {
					wires[how] = x.serve(b, way(how))
					configs[how] = &tls.Config{InsecureSkipVerify: true, MaxVersion: x.tls}
					if resumed {
						configs[how].ClientSessionCache = tls.NewLRUClientSessionCache(1)
						configs[how].ServerName = "x"
					}
				}
				took := alternate(b, len(wires), block, func(how int) { wires[how].again(configs[how]) })
				b.ReportMetric(median(took[asTracked])/median(took[asBare]), "tracked/bare")
			})
		}
	}
}

// again does what w is for on a connection of its own.
func (w *wire) again(config *tls.Config) {
	nc, err := net.Dial("tcp", w.nc.RemoteAddr().String())
	check(w.t, err)
	one := &wire{w.t, tls.Client(nc, config), w.req, w.buf}
	one.roundTrip()
	check(w.t, one.nc.Close())
}
