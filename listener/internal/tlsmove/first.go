package tlsmove

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
)

// First is a connection whose handshake this process does.
type First struct {
	*tls.Conn
	tap    *tap
	once   sync.Once   // sets done
	done   atomic.Bool // the handshake is
	closed atomic.Bool
	read   int64 // bytes of data; the reader's
}

// Config returns what Server wants: config, which goes on to be used, with an ear for the secrets. Config must have no
// GetConfigForClient. The keys of session tickets are config's, also where several servers have it.
func Config(config *tls.Config) *tls.Config {
	ear := config.Clone()
	ear.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		t, ok := hello.Conn.(*tap)
		if !ok {
			return nil, errForeign
		}
		own := config.Clone()
		t.logs, own.KeyLogWriter = own.KeyLogWriter, (*keyLog)(t)
		unwrap := own.UnwrapSession
		if unwrap == nil {
			unwrap = config.DecryptTicket
		}
		own.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
			session, err := unwrap(ticket, cs)
			if session != nil {
				t.resumes(session)
			}
			return session, err
		}
		if own.WrapSession == nil {
			own.WrapSession = config.EncryptTicket // crypto/tls would seal with keys of ear's
		}
		return own, nil
	}
	return ear
}

// Server is tls.Server of what Config has returned.
func Server(nc net.Conn, config *tls.Config) *First {
	t := &tap{Conn: nc, shaking: true}
	f := &First{Conn: tls.Server(t, config), tap: t}
	t.data = &f.read
	return f
}

// HandshakeContext is that of tls.Conn.
func (f *First) HandshakeContext(ctx context.Context) error {
	if f.done.Load() {
		return nil
	}
	err := f.Conn.HandshakeContext(ctx)
	switch {
	case err != nil:
		f.tap.abandon()
	default:
		f.once.Do(func() {
			f.tap.shaken(f.Conn.ConnectionState())
			f.done.Store(true)
		})
	}
	if f.closed.Load() {
		f.tap.abandon()
	}
	return err
}

// Handshake is that of tls.Conn.
func (f *First) Handshake() error { return f.HandshakeContext(context.Background()) }

// Read implements net.Conn.
func (f *First) Read(p []byte) (int, error) {
	if !f.done.Load() {
		if err := f.Handshake(); err != nil {
			return 0, err
		}
	}
	n, err := f.Conn.Read(p)
	f.read += int64(n)
	return n, err
}

// Write implements net.Conn.
func (f *First) Write(p []byte) (int, error) {
	if !f.done.Load() {
		if err := f.Handshake(); err != nil {
			return 0, err
		}
	}
	return f.Conn.Write(p)
}

// CloseWrite is that of tls.Conn.
func (f *First) CloseWrite() error {
	f.tap.movable.Store(false)
	return f.Conn.CloseWrite()
}

// Close implements net.Conn. What is exported is closed without an alert.
func (f *First) Close() error {
	f.closed.Store(true)
	err := f.Conn.Close()
	f.Abandon()
	return err
}

// Abandon says that the connection is never moved. It overwrites the secrets, of a handshake when that is over.
func (f *First) Abandon() {
	if f.done.Load() {
		f.tap.abandon()
	}
}

// Movable implements Secured.
func (f *First) Movable() bool { return f.done.Load() && f.tap.movable.Load() }

// Partial implements Secured.
func (f *First) Partial() bool { return f.tap.partial() }

// Export implements Secured.
func (f *First) Export() ([]byte, error) {
	if !f.Movable() {
		return nil, errForeign
	}
	s := new(State)
	if err := s.describe(f.ConnectionState()); err != nil {
		return nil, err
	}
	defer s.Wipe()
	if err := f.tap.export(s); err != nil {
		return nil, err
	}
	return s.AppendBinary(make([]byte, 0, MaxState)), nil // which does not grow: no copy is left
}

// Keep implements Secured.
func (f *First) Keep() { f.tap.keep() }
