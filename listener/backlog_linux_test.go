package listener

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// A sweep ends, however fast clients come: where another process holds the socket it takes what was there
// when it began, and in the last one no more than the queue has room for.
func TestSweepEndsInAFlood(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(shortDir(t), "s")
			}
			set := New(nil, nil)
			defer set.Close()
			so := mustListen(t, set, network, address).(*socket)
			set.Open()
			arrive := func() {
				t.Helper()
				nc, err := net.Dial(network, so.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = nc.Close() })
			}
			const n = 8
			for range n {
				arrive()
			}
			now, most := queueLen(so.ln)
			if network == "tcp" && now != n || now < n || most < now || most > somaxconn() {
				t.Fatalf("%d wait, of at most %d; want %d", now, most, n)
			}
			taken := 0
			err := backlog(so.ln, n, func(f *os.File) bool {
				taken++
				arrive() // and another two for each that is taken
				arrive()
				return f.Close() == nil
			})
			if taken != n || err != nil {
				t.Errorf("%d taken of %d, %v", taken, n, err)
			}
			if network == "tcp" {
				if so.sweep(); len(so.queue) != 2*n {
					t.Errorf("%d taken; want the %d that were there", len(so.queue), 2*n)
				}
			}
		})
	}
}
