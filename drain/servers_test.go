package drain

import (
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a listener of the program's whose methods return when it is let go.
type stuck struct{ letGo chan struct{} }

func (l stuck) Accept() (net.Conn, error) { <-l.letGo; return nil, net.ErrClosed }
func (l stuck) Close() error              { <-l.letGo; return nil }
func (l stuck) Addr() net.Addr            { return &net.TCPAddr{} }

// A Close of the program's that does not return holds the end up for a moment, not for ever.
func TestServersAreClosedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, srv := stuck{make(chan struct{})}, new(http.Server)
		go func() { _ = srv.Serve(l) }()
		synctest.Wait()
		s := newServers(nil)
		s.add(server{Server: srv, ln: l})
		begun := time.Now()
		s.close()
		if took := time.Since(begun); took != lastWords {
			t.Errorf("took %v; want %v", took, lastWords)
		}
		close(l.letGo)
		synctest.Wait()
		begun = time.Now()
		s.close()
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %v; want none", took)
		}
	})
}
