package listener

import (
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// A client that reads its last answer slowly is busy with it; one that has stopped to is not waited for.
func TestGraceBeginsWhenTheAnswerHasArrived(t *testing.T) {
	one := next(t, nil, &http.Server{})
	peer := dial(t, one).nc.(*net.TCPConn)
	_ = peer.SetReadBuffer(64 << 10)
	one.await(t, "not accepted", func(n Counts) bool { return n.New == 1 })
	c := one.set.all()[0]
	_ = c.Conn.(*net.TCPConn).SetWriteBuffer(256 << 10)
	wrote := 0
	for wrote < 256<<10 { // as much as there is room for
		_ = c.Conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		n, _ := c.Conn.Write(make([]byte, 16<<20))
		wrote += n
	}
	left := wrote
	d := &drainer{set: one.set}
	d.grace.Store(int64(time.Hour))
	look := func() (closes bool) {
		c.mu.Lock()
		c.closing.notBefore, c.since.quiet, c.since.idle = now()-time.Second, now()-2*time.Hour, 0
		c.mu.Unlock()
		return d.closeIfIdle(c, true)
	}
	receive := func() { // until the service can send more of it, or none is left
		t.Helper()
		for before := sockopt.Unsent(c.Conn); before > 0 && sockopt.Unsent(c.Conn) == before; {
			if left == 0 { // the kernel has yet to learn that all has arrived
				time.Sleep(time.Millisecond)
				continue
			}
			n, err := peer.Read(make([]byte, 16<<10))
			if err != nil {
				t.Fatalf("%d bytes of %d left: %v", left, wrote, err)
			}
			left -= n
		}
	}
	if d.closeIfIdle(c, true) {
		t.Error("closed before the grace begins")
	}
	for range 3 {
		receive()
		if look() {
			t.Errorf("closed with %d bytes of %d unsent, though the client reads on", sockopt.Unsent(c.Conn), wrote)
		}
	}
	for end := time.Now().Add(patience); !look(); time.Sleep(time.Millisecond) { // what was on the way has arrived
		if time.Now().After(end) {
			t.Fatalf("waits for a client that has stopped to read, with %d bytes of %d unsent",
				sockopt.Unsent(c.Conn), wrote)
		}
	}
	for sockopt.Unsent(c.Conn) > 0 {
		receive()
	}
	if look() {
		t.Error("closed as soon as the client has the answer: it has had no grace")
	}
	if !look() {
		t.Error("not closed after the grace")
	}
}
