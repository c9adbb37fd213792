package tlsmove

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is a connection whose handshake another process has done.
type Conn struct {
	net.Conn // the records' way; closed by Close
	state    State
	closed   atomic.Bool

	reading sync.Mutex // guards what follows, and is held by Read
	in      *half
	buf     []byte // what was read is buf[from:to]
	from    int
	to      int
	small   []byte  // buf, of a connection at rest
	big     *[]byte // buf, where it is the pool's
	plain   []byte  // of buf: decrypted, and not read yet
	hand    []byte  // the beginning of a handshake message
	useless int     // records in a row that brought no data
	readErr error   // for good

	writing  sync.Mutex // guards what follows, and is held while a record is written
	out      *half
	writeErr error // for good
	saidEnd  bool  // a close_notify was written, or tried
	exported bool
}

// Adopt goes on with nc by s, whose secrets it overwrites.
func Adopt(nc net.Conn, s *State) (*Conn, error) {
	defer s.Wipe()
	suite := suiteOf(s.Version, s.Suite)
	if suite == nil || !Able() {
		return nil, errForeign
	}
	in, err := newHalf(s.Version, suite, s.In)
	if err != nil {
		return nil, err
	}
	out, err := newHalf(s.Version, suite, s.Out)
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: nc, state: *s, in: in, out: out}
	c.state.In, c.state.Out = Half{}, Half{}
	return c, nil
}

// ConnectionState is that of crypto/tls, but its ExportKeyingMaterial returns an error.
func (c *Conn) ConnectionState() tls.ConnectionState { return c.state.ConnectionState() }

// HandshakeContext has nothing to do.
func (c *Conn) HandshakeContext(context.Context) error { return nil }

// NetConn returns what is below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Write implements net.Conn. After an error, a deadline too, every Write returns it: a part of a record may be written.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.endWrite()
	err = c.canWrite()
	for err == nil && len(p) > 0 {
		k := min(len(p), maxPlaintext)
		if err = c.write(typeData, p[:k]); err == nil {
			n, p = n+k, p[k:]
		}
	}
	return n, err
}

func (c *Conn) endWrite() {
	c.writing.Unlock()
	if c.closed.Load() {
		c.wipeOut()
	}
}

func (c *Conn) wipeOut() {
	if c.writing.TryLock() {
		c.out.wipe()
		c.writing.Unlock()
	}
}

func (c *Conn) canWrite() error {
	switch {
	case c.exported || c.closed.Load():
		return net.ErrClosed
	case c.saidEnd:
		return errors.New("tlsmove: write after CloseWrite")
	}
	return c.writeErr
}

// write writes a record. The caller holds writing.
func (c *Conn) write(typ byte, p []byte) error {
	if err := c.canWrite(); err != nil {
		return err
	}
	buf := outBuffers.Get().(*[]byte)
	defer outBuffers.Put(buf)
	record, err := c.out.seal((*buf)[:0], typ, p)
	if err == nil {
		_, err = c.Conn.Write(record)
	}
	c.writeErr = err
	return err
}

// CloseWrite says close_notify.
func (c *Conn) CloseWrite() error {
	c.writing.Lock()
	defer c.endWrite()
	return c.sayEnd()
}

func (c *Conn) sayEnd() error {
	if c.saidEnd || c.exported {
		return nil
	}
	const patience = 5 * time.Second // as in crypto/tls
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	err := c.write(typeAlert, []byte{levelWarning, byte(alertClose)})
	c.saidEnd = true
	_ = c.SetWriteDeadline(time.Now())
	return err
}

// Close implements net.Conn. It says close_notify, unless a Write is under way, which it ends, or the connection is
// exported. The secrets are overwritten when no goroutine uses them any more.
func (c *Conn) Close() error {
	if c.writing.TryLock() {
		_ = c.sayEnd()
		c.writing.Unlock()
	}
	c.closed.Store(true)
	err := c.Conn.Close()
	c.wipeOut()
	c.wipeIn()
	return err
}

// Movable implements Secured.
func (c *Conn) Movable() bool { return true }

// Partial implements Secured.
func (c *Conn) Partial() bool { return c.from < c.to || len(c.plain) > 0 || len(c.hand) > 0 }

// Export implements Secured.
func (c *Conn) Export() ([]byte, error) {
	if !c.writing.TryLock() {
		return nil, errWriting
	}
	defer c.endWrite()
	if c.reading.TryLock() { // the reader of HTTP/2 waits above; another one waits in a Read below, or Close wipes
		defer c.endRead()
	}
	switch {
	case c.closed.Load() || c.writeErr != nil || c.saidEnd:
		return nil, errOver
	case c.Partial():
		return nil, errPartial
	case c.readErr != nil:
		return nil, errOver
	}
	s := c.state
	s.In, s.Out = c.in.Half, c.out.Half
	c.exported = true
	return s.AppendBinary(make([]byte, 0, MaxState)), nil // which does not grow: no copy is left
}

// Keep implements Secured.
func (c *Conn) Keep() {
	c.writing.Lock()
	defer c.endWrite()
	c.exported = false
}
