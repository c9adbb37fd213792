package h2drain

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// tellServer lets the server know, as soon as no part of a frame of the client's is missing.
func (f *Conn) tellServer() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended.Swap(true) {
		f.wakeLocked()
	}
}

// wakeLocked makes the reader look at what has changed.
func (f *Conn) wakeLocked() { f.wakeAtLocked(time.Unix(1, 0)) }

func (f *Conn) wakeAtLocked(at time.Time) {
	f.waking = true
	_ = f.Conn.SetReadDeadline(at) // see Read
}

// What is read, at most, once the server is to be told: more than the window that net/http gives all streams of a
// connection together. A flood has no end. A record of TLS that is not whole has glanceTime.
const (
	mostGlanced = 1<<20 + 1<<16
	glanceTime  = pingPause
)

// glance reports whether the client may have sent more, which the server is to read before it is told: the kernel has
// it, or TLS. The next read does not wait for anything else. It is called by the reader between two frames.
func (f *Conn) glance() bool {
	if f.glanced >= mostGlanced {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := time.Unix(1, 0)
	if sockopt.Unread(f.below.Socket()) > 0 {
		at = time.Now().Add(glanceTime)
	}
	f.wakeAtLocked(at)
	return true
}

// Read implements net.Conn.
func (f *Conn) Read(p []byte) (int, error) {
	for tried := false; ; {
		alien := f.notHTTP2.Load()
		telling := f.ended.Load() && !f.told.Load() && !alien
		// What the server is to read next may be half read, and a server that is new begins with its opening.
		// What the client's requests are in has to be read before the server says which is the last.
		glances := false
		if telling && len(f.extra) == 0 && f.opening.Load() == nil && f.in.Settings && f.in.Between() {
			if glances = f.glance(); !glances {
				f.told.Store(true)
				f.extra = h2frame.GoAway(0)
			}
		}
		if len(f.extra) > 0 {
			n := copy(p, f.extra)
			f.extra = f.extra[n:]
			return n, nil
		}
		if o := f.opening.Load(); o != nil {
			if f.extra = o.next(f); f.extra == nil && f.opening.Load() != nil {
				return 0, net.ErrClosed
			}
			continue
		}
		if m := f.move.Load(); m != nil && !tried && !alien && f.in.Settings && f.in.Between() {
			tried = true
			switch f.tryMove(m) {
			case asked:
				continue
			case moved:
				return 0, io.EOF
			}
		}
		q := p
		if f.in.Preface > 0 && !alien || telling {
			q = p[:min(len(p), f.in.Room())]
		}
		n, err := f.read(q)
		if telling {
			f.glanced += n
		}
		if f.empty = n == 0; f.empty && errors.Is(err, os.ErrDeadlineExceeded) && f.wakened() {
			tried = false
			if glances {
				f.glanced = mostGlanced
			}
			continue
		}
		if !alien {
			f.follow(q[:n])
		}
		return n, err
	}
}

func (f *Conn) read(p []byte) (n int, err error) {
	if len(f.early) > 0 {
		n = copy(p, f.early)
		f.early = f.early[n:]
		return n, nil
	}
	return f.Conn.Read(p)
}

// follow is told of what the server has read.
func (f *Conn) follow(b []byte) {
	p := f.drain.Load()
	if p != nil {
		f.in.Awaited = p.awaited.Load()
	}
	f.in.Scan(b)
	f.place.Store(f.in.Place())
	switch {
	case f.in.NotHTTP2:
		f.notHTTP2.Store(true)
		f.below.NotHTTP2()
	case p != nil && f.in.Back:
		f.in.Back = false
		p.pongReceived(f.in.Last)
	}
}

// wakened tells whether wakeLocked made a read time out.
func (f *Conn) wakened() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.waking
	f.waking = false
	return was && f.Conn.SetReadDeadline(f.deadline) == nil
}

// SetReadDeadline implements net.Conn.
func (f *Conn) SetReadDeadline(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deadline = t
	if f.waking {
		return nil
	}
	return f.Conn.SetReadDeadline(t)
}

// SetDeadline implements net.Conn.
func (f *Conn) SetDeadline(t time.Time) error {
	if err := f.SetReadDeadline(t); err != nil {
		return err
	}
	return f.SetWriteDeadline(t)
}
