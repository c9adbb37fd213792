package listener

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
	"time"

	"github.com/baton-go/baton/listener/internal/quirks"
	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
	"github.com/baton-go/baton/listener/internal/tlsmove"
)

// sealed is what a server gets instead of a *tls.Conn, where the connection can be moved: it sees what is read as the
// server sees it. Where HTTP/2 is negotiated, it is a frontTLS and nothing more.
type sealed struct {
	frontTLS
	seal *seal // is front.Conn
}

func newSealed(secured tlsmove.Secured, c *conn) *sealed {
	s := &seal{Secured: secured}
	if first, ok := s.first(); ok {
		s.user = first.Conn
	} else {
		s.user = tls.Server(unshaken{secured}, &tls.Config{}) //nolint:gosec // it does nothing
	}
	c.seal = s
	return &sealed{frontTLS{&front{Conn: s, own: c}}, s}
}

// unshaken is below a *tls.Conn for hooks that know a connection by this type. As when they first see any connection,
// no handshake has been done on it; and none can be.
type unshaken struct{ net.Conn }

func (unshaken) Read([]byte) (int, error)  { return 0, net.ErrClosed }
func (unshaken) Write([]byte) (int, error) { return 0, net.ErrClosed }
func (u unshaken) NetConn() net.Conn       { return u.Conn }

func (u unshaken) SyscallConn() (syscall.RawConn, error) {
	return sockopt.RawConn(u.Conn.(tlsmove.Secured).NetConn())
}

// HandshakeContext is where a server of Go 1.27 or later shakes hands.
func (f *sealed) HandshakeContext(ctx context.Context) error {
	if err := f.frontTLS.HandshakeContext(ctx); err != nil {
		return err
	}
	f.shaken()
	return nil
}

// shaken is called when the handshake is over, of a connection that may be one of HTTP/2.
func (f *sealed) shaken() {
	if f.h2.Load() == nil && f.own.speaks.Load() != insealed {
		f.own.unseal()
	}
}

// Read implements net.Conn.
func (f *sealed) Read(p []byte) (int, error) {
	c := f.own
	c.awaitClaim() // what comes before conn.Read, which waits too, is not for a drainer to look at meanwhile
	if c.speaks.Load() != insealed {
		return f.frontTLS.Read(p)
	}
	for {
		c.beginRead(len(p))
		n, err := f.seal.Read(p)
		if n = c.endRead(p, n); n > 0 || err != nil {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (f *sealed) Write(p []byte) (int, error) {
	if f.own.speaks.Load() == insealed {
		return f.seal.Write(p)
	}
	return f.frontTLS.Write(p)
}

// SetReadDeadline implements net.Conn. All that lies between would pass it on, and net/http calls it seven times a
// request.
func (f *sealed) SetReadDeadline(t time.Time) error {
	if f.own.speaks.Load() == insealed {
		return f.own.SetReadDeadline(t)
	}
	return f.frontTLS.SetReadDeadline(t)
}

// CloseWrite says close_notify, as that of a *tls.Conn.
func (f *sealed) CloseWrite() error { return f.seal.CloseWrite() }

// unseal makes c, which has a seal, one whose data are seen as the server reads them.
func (c *conn) unseal() {
	if c.input.records == nil { // nobody has followed them, as where the server was not given to Track
		c.input.records = new(sniff.Records)
	}
	c.serverRead.trims = c.adopted.idle.Load()
	c.input.sinceIdle.Store(false)
	c.input.head.Store(0)
	c.input.inRecord.Store(c.input.records.Partial())
	c.speaks.Store(insealed)
}

// beginRead is told, before a Read of the server's, how long its buffer is.
func (c *conn) beginRead(offered int) {
	c.serverRead.offered, c.serverRead.ahead = offered, c.input.lines.Ahead.Load() > 0
	http1{c}.lookAtBuffer(offered, c.serverRead.ahead)
	if offered == quirks.ReadSize && c.awaitsRequest() {
		c.input.lines.Clear() // the server's buffer is empty
	}
}

// endRead is told what that has read, and returns how many bytes the server gets.
func (c *conn) endRead(p []byte, n int) int {
	if n == 0 {
		return 0
	}
	if c.serverRead.trims {
		if n = trimLineEnds(p, n); n == 0 {
			return 0
		}
		c.serverRead.trims = false
	}
	if !c.input.sinceIdle.Load() {
		c.firstByte()
	}
	http1{c}.received(p[:n], c.serverRead.offered)
	return n
}
