package listener

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// clinging is a connection whose descriptor others hold.
type clinging struct {
	net.Conn
	held chan struct{}
}

func (c clinging) Close() error { <-c.held; return c.Conn.Close() }

// A Close by force returns in time, whatever holds the connections, and so does their server's.
func TestCloseWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, held := New(Config{}), make(chan struct{})
		var conns []*conn
		for range 2 * forceCloseWorkers {
			near, far := net.Pipe()
			defer near.Close()
			c := &conn{Conn: clinging{far, held}, set: set, sock: &socket{}}
			set.add(c)
			conns = append(conns, c)
		}
		start := time.Now()
		if left := set.Close(); left.Open() != len(conns) {
			t.Errorf("%+v", left)
		}
		for _, c := range conns {
			_ = c.Close()
		}
		if took := time.Since(start); took != forceCloseWait {
			t.Errorf("took %v, want %v", took, forceCloseWait)
		}
		close(held)
		synctest.Wait()
		if n := set.Counts(); n.Open() != 0 {
			t.Errorf("%+v", n)
		}
	})
}
