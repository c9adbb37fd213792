package tlsmove

import (
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"net"
	"sync"
)

// Read implements net.Conn. A deadline does no harm: what was read is kept.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.reading.Lock()
	defer c.endRead()
	for len(c.plain) == 0 {
		if c.readErr != nil {
			return 0, c.readErr
		}
		if err := c.readRecord(); err != nil {
			if !isTimeout(err) {
				c.readErr = err
			}
			return 0, err
		}
	}
	n := copy(p, c.plain)
	c.plain = c.plain[n:]
	return n, nil
}

// isTimeout knows a timeout of package net at once: net/http ends a read so in each request.
func isTimeout(err error) bool {
	t, ok := err.(net.Error) //nolint:errorlint // at first
	return (ok || errors.As(err, &t)) && t.Timeout()
}

// maxUseless is how many records in a row may bring no data, as in crypto/tls.
const maxUseless = 16

// readRecord reads one record and heeds it.
func (c *Conn) readRecord() error {
	if err := c.fill(headLen); err != nil {
		return err
	}
	head := c.buf[c.from : c.from+headLen]
	n, most := int(binary.BigEndian.Uint16(head[3:])), maxSealed12
	if c.in.tls13 {
		most = maxSealed13
	}
	switch {
	case head[1] != 3 || head[2] != 3:
		return c.fail(alertVersion)
	case n > most:
		return c.fail(alertOverflow)
	}
	if err := c.fill(headLen + n); err != nil {
		return err
	}
	record := c.buf[c.from : c.from+headLen+n]
	c.from += len(record)
	typ, p, alert := c.in.open(record)
	if alert != 0 {
		return c.fail(alert)
	}
	return c.heed(typ, p)
}

func (c *Conn) heed(typ byte, p []byte) error {
	if typ == typeData && len(p) > 0 {
		c.useless = 0
	} else if c.useless++; c.useless > maxUseless {
		return c.fail(alertUnexpected)
	}
	switch {
	case len(p) > maxPlaintext:
		return c.fail(alertOverflow)
	case len(c.hand) > 0 && typ != typeHandshake:
		return c.fail(alertUnexpected)
	case typ == typeData:
		c.plain = p
		return nil
	case typ == typeAlert && len(p) == 2:
		return c.alerted(p[0], tls.AlertError(p[1]))
	case typ == typeCipherChange && c.in.tls13 && len(p) == 1 && p[0] == 1:
		return nil
	case typ == typeHandshake && c.in.tls13 && len(p) > 0:
		return c.handshake(p)
	}
	return c.fail(alertUnexpected) // in TLS 1.2 a handshake is a renegotiation
}

func (c *Conn) alerted(level byte, a tls.AlertError) error {
	switch {
	case a == alertClose:
		return io.EOF
	case c.in.tls13 && a == alertCanceled, !c.in.tls13 && level == levelWarning:
		return nil
	case !c.in.tls13 && level != levelFatal:
		return c.fail(alertUnexpected)
	}
	return &net.OpError{Op: "remote error", Err: a}
}

// A KeyUpdate is type, length in three bytes, and whether the other side is to update as well.
const (
	typeKeyUpdate = 24
	keyUpdateLen  = 5
)

// handshake heeds a part of a handshake message: only key updates come behind a handshake.
func (c *Conn) handshake(p []byte) error {
	if len(c.hand)+len(p) > keyUpdateLen {
		return c.fail(alertUnexpected) // another message, or one that does not end with its record
	}
	c.hand = append(c.hand, p...)
	switch whole := len(c.hand) == keyUpdateLen; {
	case c.hand[0] != typeKeyUpdate:
		return c.fail(alertUnexpected)
	case !whole:
		return nil
	case c.hand[1] != 0 || c.hand[2] != 0 || c.hand[3] != 1:
		return c.fail(alertDecode)
	case c.hand[4] > 1:
		return c.fail(alertIllegal)
	}
	asked := c.hand[4] == 1
	c.hand = c.hand[:0]
	if err := c.in.update(); err != nil {
		return c.fail(alertInternal)
	}
	if asked {
		c.updateOut()
	}
	return nil
}

// updateOut answers a key update. An error is that of the next Write.
func (c *Conn) updateOut() {
	c.writing.Lock()
	defer c.endWrite()
	if err := c.write(typeHandshake, []byte{typeKeyUpdate, 0, 0, 1, 0}); err != nil {
		return
	}
	if err := c.out.update(); err != nil {
		c.writeErr = err
	}
}

// fail says by an alert why the connection ends.
func (c *Conn) fail(a tls.AlertError) error {
	c.writing.Lock()
	defer c.endWrite()
	_ = c.write(typeAlert, []byte{levelFatal, byte(a)})
	err := &net.OpError{Op: "local error", Err: a}
	if c.writeErr == nil {
		c.writeErr = err
	}
	return err
}

// A connection keeps a buffer of its own for most requests, as large as its largest record was, up to a bound. Longer
// records are read into one of a pool.
const leastBuffer, mostBuffer = 1 << 10, 4 << 10

var (
	bigBuffers = sync.Pool{New: func() any { b := make([]byte, maxRecord); return &b }}
	outBuffers = sync.Pool{New: func() any { b := make([]byte, 0, maxPlaintext+overhead); return &b }}
)

// fill reads until n bytes are there. Nothing decrypted may be left unread.
func (c *Conn) fill(n int) error {
	for idle := 0; c.to-c.from < n; {
		c.room(n)
		k, err := c.Conn.Read(c.buf[c.to:])
		c.to += k
		switch idle++; {
		case k > 0:
			idle = 0
		case c.to > c.from && errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case idle > maxUseless:
			return io.ErrNoProgress
		}
	}
	return nil
}

// room makes room for n bytes in all. Between two records, a connection whose last was small goes back to a small
// buffer.
func (c *Conn) room(n int) {
	if c.from == c.to {
		if c.big != nil && c.from <= mostBuffer {
			c.release()
		}
		c.from, c.to = 0, 0
	}
	switch {
	case n <= len(c.buf)-c.from:
	case n <= len(c.buf):
		c.to = copy(c.buf, c.buf[c.from:c.to])
		c.from = 0
	case n <= mostBuffer:
		if n > len(c.small) {
			c.small = make([]byte, max(leastBuffer, 1<<bits.Len(uint(n-1))))
		}
		c.to = copy(c.small, c.buf[c.from:c.to])
		c.from, c.buf = 0, c.small
	default:
		big := bigBuffers.Get().(*[]byte)
		c.to = copy(*big, c.buf[c.from:c.to])
		c.from, c.buf, c.big = 0, *big, big
	}
}

// release gives a buffer of the pool back, of which nothing is in use.
func (c *Conn) release() {
	if c.big != nil {
		bigBuffers.Put(c.big)
		c.buf, c.big = c.small, nil
	}
}

// endRead lets go of reading, and overwrites the secret of what has been closed meanwhile.
func (c *Conn) endRead() {
	c.reading.Unlock()
	if c.closed.Load() {
		c.wipeIn()
	}
}

func (c *Conn) wipeIn() {
	if c.reading.TryLock() { // else the goroutine that holds it calls this, too
		c.in.wipe()
		c.plain = nil
		c.release()
		c.readErr = cmp.Or(c.readErr, net.ErrClosed)
		c.reading.Unlock()
	}
}
