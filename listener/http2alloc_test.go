//go:build unix && !race

package listener

import (
	"bufio"
	"encoding/binary"
	"io"
	"math"
	"net"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// h2wire is wire for HTTP/2 without TLS.
type h2wire struct {
	t      testing.TB
	nc     net.Conn
	br     *bufio.Reader
	stream uint32
	req    []byte
	head   [h2frame.HeaderLen]byte
}

func dialWire(t testing.TB, tracked bool) *h2wire {
	t.Helper()
	srv := &http.Server{Protocols: new(http.Protocols),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "hello")
		})}
	srv.Protocols.SetUnencryptedHTTP2(true)
	set := New(Config{MaxAge: time.Hour})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if tracked {
		_ = ln.Close()
		ln, err = set.Listen("tcp", "127.0.0.1:0")
		set.Track(srv)
		set.Open()
	}
	check(t, err)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	nc := dialTo(t, ln.Addr())
	get := slices.Concat([]byte{0x82}, postHead[1:])
	req := rawFrame(h2frame.TypeHeaders, h2frame.FlagEndBlock|1, 0, get)
	w := &h2wire{t: t, nc: nc, br: bufio.NewReader(nc), stream: 1, req: req}
	_, _ = nc.Write(append([]byte(h2frame.Preface), slices.Concat(rawFrame(4, 0, 0, nil),
		rawFrame(8, 0, 0, []byte{0x7f, 0, 0, 0}))...)) // a window for all answers
	for range 50 {
		w.roundTrip()
	}
	if tracked != (set.Counts().HTTP2 == 1) {
		t.Fatalf("tracked %v: %+v", tracked, set.Counts())
	}
	return w
}

func (w *h2wire) roundTrip() {
	binary.BigEndian.PutUint32(w.req[5:], w.stream)
	w.stream += 2
	if _, err := w.nc.Write(w.req); err != nil {
		w.t.Fatal(err)
	}
	for {
		if _, err := io.ReadFull(w.br, w.head[:]); err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.br.Discard(int(w.head[1])<<8 | int(w.head[2])); err != nil {
			w.t.Fatal(err)
		}
		if w.head[3] <= h2frame.TypeHeaders && w.head[4]&1 != 0 {
			return
		}
	}
}

func TestFramingAllocatesNothingPerRequest(t *testing.T) {
	const requests, rounds = 300, 6
	least := [2]float64{math.Inf(1), math.Inf(1)}
	wires := [2]*h2wire{dialWire(t, false), dialWire(t, true)}
	for range rounds {
		for i, w := range wires {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range requests {
				w.roundTrip()
			}
			runtime.ReadMemStats(&after)
			least[i] = min(least[i], float64(after.Mallocs-before.Mallocs)/requests)
		}
	}
	t.Logf("bare %.2f allocations, tracked %.2f", least[0], least[1])
	if least[1]-least[0] > 0.5 {
		t.Errorf("%.2f allocations more per request", least[1]-least[0])
	}
}

// BenchmarkFramedOverBare is BenchmarkTrackedOverBare for HTTP/2.
func BenchmarkFramedOverBare(b *testing.B) {
	wires := [2]*h2wire{dialWire(b, false), dialWire(b, true)}
	var took [2][]time.Duration
	for n := 0; b.Loop(); n++ {
		for j := range wires {
			i := (n + j) % 2
			start := time.Now()
			for range 10 {
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
	b.ReportMetric(fast[0]/fast[1], "framed/bare")
}
