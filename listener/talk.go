package listener

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-go/baton/listener/internal/quirks"
	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// talk is a connection of a Followed.
type talk struct {
	net.Conn
	own  *conn
	of   *Followed
	used atomic.Bool // by the server
	lost atomic.Bool // exchange.Lost, without mu
	tls  atomic.Bool // lost, since the server itself speaks TLS

	mu         sync.Mutex // guards what follows
	exchange   sniff.Exchange
	led        bool // counted in Followed.led
	background bool // net/http reads behind a handler's back
	last       bool // an answer has said that it is the last, which the server does not know
	closed     bool
}

// noServer has no timeouts.
var noServer http.Server

// meet makes a connection that has said nothing one of HTTP/1.
func (t *talk) meet() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.own.state.Load() == 0 && !t.exchange.Lost {
		t.own.onState(&noServer, t.Conn, http.StateNew)
		t.settle()
	}
}

// follow tells the exchange of what was read or written, and the set of what that means.
func (t *talk) follow(tell func(*sniff.Exchange)) {
	if t.lost.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := &t.exchange
	begun := x.Begun
	tell(x)
	if x.Lost {
		t.lost.Store(true)
		t.own.speaks.CompareAndSwap(followed, plain)
		t.own.state.Store(0)
		if x.Upgraded {
			t.own.onState(&noServer, t.Conn, http.StateHijacked)
		}
	} else {
		for range x.Begun - begun {
			t.own.onState(&noServer, t.Conn, http.StateActive)
		}
		if x.Open() == 0 && !x.Ends && !t.background && t.own.is(http.StateActive) {
			t.own.onState(&noServer, t.Conn, http.StateIdle)
		}
		if x.Answered > 0 && !t.of.http1.Load() {
			go t.of.learn()
		}
	}
	t.settle()
}

// settle is called with mu held when the state has changed. It keeps led, and input.sinceIdle of own.
func (t *talk) settle() {
	led := !t.exchange.Lost && !t.closed && t.own.state.Load() != 0
	if led && t.exchange.Partial() != t.own.input.sinceIdle.Load() {
		t.own.input.sinceIdle.Store(t.exchange.Partial())
	}
	if led == t.led {
		return
	}
	t.led = led
	f := t.of
	f.mu.Lock()
	defer f.mu.Unlock()
	if led {
		f.led++
	} else if f.led--; f.led == 0 {
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

// rests implements conversation.
func (t *talk) rests() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.exchange.Rest()
}

// owes implements conversation.
func (t *talk) owes() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.exchange.Open() > 0
}

func (t *talk) use() {
	if !t.used.Swap(true) {
		t.of.unused.Done()
	}
}

// Read implements net.Conn. After an answer that was made the last one, which only the client knows, it returns io.EOF.
func (t *talk) Read(p []byte) (int, error) {
	t.use()
	if t.lost.Load() {
		return t.Conn.Read(p)
	}
	t.mu.Lock()
	over := t.last && t.exchange.Open() == 0
	t.background = len(p) == 1 && t.own.deadlines.none()
	t.mu.Unlock()
	if over {
		return 0, io.EOF
	}
	n, err := t.Conn.Read(p)
	t.follow(func(x *sniff.Exchange) {
		t.background = false
		x.Read(p[:n])
	})
	if n > 0 && t.lost.Load() && p[0] == sniff.HandshakeRecord {
		t.tls.Store(true)
	}
	return n, err
}

// Write implements net.Conn.
func (t *talk) Write(p []byte) (n int, err error) {
	t.use()
	if t.lost.Load() {
		return t.Conn.Write(p)
	}
	if at := t.announce(p); at > 0 {
		n, err = t.Conn.Write(slices.Concat(p[:at], []byte(lastAnswer), p[at:]))
		if n > at {
			n = max(at, n-len(lastAnswer))
		}
	} else {
		n, err = t.Conn.Write(p)
	}
	t.follow(func(x *sniff.Exchange) { x.Wrote(p[:n]) })
	return n, err
}

// errSealed is for a server of net/http that can't be followed.
var errSealed = errors.New("listener: an http.Server that speaks TLS itself loses requests when Shutdown closes its " +
	"connections: give it to Track before it serves (with package drain: to Service.Track or ServeTLS)")

const lastAnswer = "Connection: close\r\n"

// announce decides whether the answer that begins with p is to be the last. It returns where in p the field goes that
// says so, or 0.
func (t *talk) announce(p []byte) int {
	d, old := t.own.set.leaving.Load(), t.own.age.over()
	if !old && (d == nil || d.canHandOver(t.own)) || sockopt.Unread(t.own.Conn) > 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.exchange.Announces(p)
	if !ok {
		return 0
	}
	t.last, t.exchange.Ends = true, true
	if old {
		t.own.tellAge()
	}
	return at
}

// Close implements net.Conn.
func (t *talk) Close() error {
	t.use()
	err := t.Conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		t.settle()
		t.of.mu.Lock()
		delete(t.of.conns, t)
		t.of.mu.Unlock()
		if t.own.wrapper.hides.Load() {
			hiddenConns.Delete(connIdentity(t.Conn))
		}
		if t.own.foreign {
			t.own.set.remove(t.own)
		}
	}
	return err
}

func (t *talk) SetDeadline(d time.Time) error { t.use(); return t.Conn.SetDeadline(d) }

// SetReadDeadline implements net.Conn.
func (t *talk) SetReadDeadline(d time.Time) error {
	t.use()
	if d.Equal(quirks.LongAgo) && t.tls.Load() {
		t.of.sealed.Do(func() { t.of.set.cfg.OnWarning(errSealed) })
	}
	return t.Conn.SetReadDeadline(d)
}

func (t *talk) SetWriteDeadline(d time.Time) error { t.use(); return t.Conn.SetWriteDeadline(d) }

// NetConn returns the connection that t follows, as in crypto/tls.
func (t *talk) NetConn() net.Conn { return t.Conn }

// CloseWrite and SyscallConn serve the same purpose as conn's.
func (t *talk) CloseWrite() error                     { return closeWrite(t.Conn) }
func (t *talk) SyscallConn() (syscall.RawConn, error) { return sockopt.RawConn(t.Conn) }

// talkTCP is a talk that can send files, see tcpConn.
type talkTCP struct{ *talk }

// ReadFrom implements io.ReaderFrom.
func (t talkTCP) ReadFrom(r io.Reader) (int64, error) {
	t.use()
	n, err := t.Conn.(io.ReaderFrom).ReadFrom(r)
	t.follow(func(x *sniff.Exchange) { x.WroteUnseen(n) })
	return n, err
}
