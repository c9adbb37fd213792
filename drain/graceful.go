package drain

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// GracefulServer is a server of a protocol other than HTTP that knows how its connections end; *grpc.Server is one.
type GracefulServer interface {
	// Serve accepts connections until Accept returns an error.
	Serve(ln net.Listener) error
	// GracefulStop tells the clients to go elsewhere, answers what they have begun, and returns when all of it is over
	// and each connection closed. It may close connections that Accept has returned and that it has not touched yet.
	GracefulStop()
}

// ServeGraceful makes srv serve on ln, which is Listen's or one that wraps it, in the background. An error of srv.Serve
// makes Run return it. When draining begins, the service closes ln as ever, so that srv.Serve returns with
// net.ErrClosed; when it has, and srv has begun with each connection that was accepted, srv.GracefulStop is called, and
// waited for until Config.DrainTimeout, which closes the connections that are left. No Stop before that: it would cut
// requests off as well, but without anybody's word.
//
// The connections count as "other" and are not handed over. A client that is silent from the beginning holds
// grpc.Server's GracefulStop up for grpc.ConnectionTimeout, which is 120s: set it well below Config.DrainTimeout.
// Streams that end when their client does are to be told, by Draining. The self-check knows nothing of the protocol:
// Config.Check can ask, through Dial.
func (s *Service) ServeGraceful(ln net.Listener, srv GracefulServer) {
	if isClosed(s.run.ended) {
		_ = ln.Close()
		return
	}
	d, served := &firstUseListener{Listener: ln}, make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(d); err != nil { // or the program itself has stopped it
			s.ended(ln, err)
		}
	}()
	err := s.Go("server on "+ln.Addr().String(), func(context.Context) {
		<-s.DrainStarted()
		<-served
		d.unused.Wait()
		srv.GracefulStop()
	})
	if err != nil {
		_ = ln.Close()
	}
}

// Dial connects to ln, which Listen has made or which wraps such a listener and has its Addr, inside this process: its
// Accept returns the other end, also while nothing is accepted from outside. It is for Config.Check of what
// Config.Check's client doesn't speak.
func (s *Service) Dial(ln net.Listener) (net.Conn, error) { return s.set.Dial(ln) }

// firstUseListener counts the connections that were accepted and not touched since. A graceful stop comes after
// they have been: when it begins, grpc.Server closes those that a goroutine of its own is about to
// look at, with the requests in them.
type firstUseListener struct {
	net.Listener
	unused sync.WaitGroup // nothing is added once the server has stopped accepting
}

func (d *firstUseListener) Accept() (net.Conn, error) {
	nc, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d.unused.Add(1)
	return &firstUseConn{nc, sync.OnceFunc(d.unused.Done)}, nil
}

// firstUseConn is a connection that tells when it is first touched.
type firstUseConn struct {
	net.Conn
	touched func()
}

func (v *firstUseConn) Read(p []byte) (int, error)    { v.touched(); return v.Conn.Read(p) }
func (v *firstUseConn) Write(p []byte) (int, error)   { v.touched(); return v.Conn.Write(p) }
func (v *firstUseConn) Close() error                  { v.touched(); return v.Conn.Close() }
func (v *firstUseConn) SetDeadline(t time.Time) error { v.touched(); return v.Conn.SetDeadline(t) }
func (v *firstUseConn) SetReadDeadline(t time.Time) error {
	v.touched()
	return v.Conn.SetReadDeadline(t)
}
func (v *firstUseConn) SetWriteDeadline(t time.Time) error {
	v.touched()
	return v.Conn.SetWriteDeadline(t)
}

// NetConn returns the connection that v wraps, as in crypto/tls.
func (v *firstUseConn) NetConn() net.Conn { return v.Conn }

// SyscallConn implements syscall.Conn.
func (v *firstUseConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := v.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
