package listener

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// framed is the plaintext of an HTTP/2 connection, between the server and the wire. It ends the connection the way
// RFC 9113, 6.8 recommends, which net/http does not: its only GOAWAY names the last stream that it has read, so that what
// the client has sent since is thrown away, and clients can't repeat a POST whose body they no longer have.
//
// While leaving, the client is first told to begin nothing new, by a GOAWAY that still lets everything pass. A PING behind
// it comes back after all that the client had begun before it knew. Go's client may yet send the head of one request
// that it was about to send: PINGs are repeated, with a pause, until some rounds have brought no new stream. Only then the
// server is told, by a GOAWAY that it takes for the client's: it finishes what it has, says its own GOAWAY and closes.
type framed struct {
	net.Conn        // a *tls.Conn, or what the server has accepted
	own      *conn  // of this package, under Conn
	early    []byte // what net/http had read when a handler took the connection; the reader's

	writing sync.Mutex // held during a write; guards what follows
	out     frames
	broken  error // of a write of our own: who knows what the client has got of it

	due   atomic.Uint32 // the number of the PING to be sent next, 0 for none
	said  atomic.Int64  // when the last was sent, in Unix nanoseconds
	begun atomic.Bool   // the client is told, or is about to be

	grace    time.Duration // with patience: set before the first PING is due
	patience *time.Timer   // calls end

	in       frames // the reader's, as the rest here
	answered uint32 // the last of our PINGs that came back
	seen     uint32 // the highest stream when it did
	calm     int    // how many rounds in a row have brought no new one
	extra    []byte // what is to be read next

	mu    sync.Mutex  // guards the read deadline, and end's becoming true
	ended atomic.Bool // the server is to be told
	told  bool        // it was; the reader's

	lingers atomic.Bool // was closed when it had been told
}

// framedTLS has the method by which servers see that a connection is encrypted.
type framedTLS struct{ *framed }

func (f framedTLS) ConnectionState() tls.ConnectionState { return f.Conn.(*tls.Conn).ConnectionState() }

// frame wraps nc, which is c or lies over it. Ahead is how many bytes of the client's preface are yet to be read.
func frame(nc net.Conn, c *conn, ahead int, early []byte) *framed {
	f := &framed{Conn: nc, own: c, early: early, in: frames{preface: ahead}}
	c.h2.Store(true)
	c.records.Store(nil)
	c.led.Store(f)
	if d := c.set.leaving.Load(); d != nil {
		f.leave(time.Duration(d.grace.Load()))
	}
	return f
}

// NetConn returns the connection that f wraps.
func (f *framed) NetConn() net.Conn { return f.Conn }

func (f *framed) inner() *framed { return f }

// unframed returns what is under a framed connection, for those who know net/http's types.
func unframed(nc net.Conn) net.Conn {
	if f, ok := nc.(interface{ inner() *framed }); ok {
		return f.inner().Conn
	}
	return nc
}

// Write implements net.Conn.
func (f *framed) Write(p []byte) (int, error) {
	f.writing.Lock()
	if f.broken != nil {
		f.writing.Unlock()
		return 0, f.broken
	}
	n, err := f.Conn.Write(p)
	f.out.pass(p[:n])
	f.say()
	f.writing.Unlock()
	f.trySay() // who wanted something meanwhile did not wait
	return n, err
}

// say sends the PING that is due, if it can be sent now. It must follow the server's first frame, which has to be SETTINGS,
// and is of no use after a GOAWAY of the server's own.
func (f *framed) say() {
	if f.due.Load() == 0 || f.out.whole == 0 || !f.out.between() || f.broken != nil {
		return
	}
	n := f.due.Swap(0)
	if n == 0 || f.out.goaway {
		return
	}
	words := ping(n)
	if n == 1 {
		words = append(goAway(maxStream), words...)
	}
	f.said.Store(time.Now().UnixNano())
	_, f.broken = f.Conn.Write(words)
}

// trySay is say for those who don't write. One who does, however long that takes, tries again at the end.
func (f *framed) trySay() {
	if f.due.Load() != 0 && f.writing.TryLock() {
		f.say()
		f.writing.Unlock()
	}
}

// pause is the least time between two PINGs, and calm how many rounds must bring nothing new: a goroutine of the client's
// that was about to send has that long, and the way here. A client that takes long to answer a PING, being busy, has longer.
const (
	pause = 50 * time.Millisecond
	calm  = 3
)

// leave begins to end the connection; a client that does not answer a PING within grace, or goes on with new streams for
// as long, is not waited for. It may block as long as a client does not read.
func (f *framed) leave(grace time.Duration) {
	if f.begun.Swap(true) {
		return
	}
	f.grace, f.patience = grace, time.AfterFunc(grace, f.end)
	f.due.Store(1)
	f.trySay()
}

// hurry ends the connection within grace, however many PINGs that takes.
func (f *framed) hurry(grace time.Duration) {
	f.leave(grace)
	time.AfterFunc(grace, f.end)
}

// end lets the server know, as soon as the client has not sent a part of a frame only.
func (f *framed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended.Swap(true) {
		_ = f.Conn.SetReadDeadline(time.Unix(1, 0)) // see Read
	}
}

// Read implements net.Conn.
func (f *framed) Read(p []byte) (int, error) {
	for {
		if f.ended.Load() && !f.told && f.in.whole > 0 && f.in.between() {
			f.told = true
			f.extra = goAway(0)
		}
		if len(f.extra) > 0 {
			n := copy(p, f.extra)
			f.extra = f.extra[n:]
			return n, nil
		}
		q := p
		if f.in.preface > 0 || f.ended.Load() && !f.told {
			q = p[:min(len(p), f.in.room())]
		}
		n, err := f.read(q)
		if n == 0 && isTimeout(err) && f.wakened() {
			continue
		}
		f.in.pass(q[:n])
		if f.in.pong > f.answered {
			f.hear()
		}
		return n, err
	}
}

func (f *framed) read(p []byte) (n int, err error) {
	if len(f.early) > 0 {
		n = copy(p, f.early)
		f.early = f.early[n:]
		return n, nil
	}
	return f.Conn.Read(p)
}

// wakened tells whether it was end that made a read time out.
func (f *framed) wakened() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended.Load() && f.Conn.SetReadDeadline(time.Time{}) == nil
}

// hear is called when one of our PINGs has come back.
func (f *framed) hear() {
	first := f.answered == 0
	f.calm++
	if first || f.in.last != f.seen {
		f.calm = 0
	}
	f.answered, f.seen = f.in.pong, f.in.last
	if f.calm == calm {
		f.ended.Store(true)
		return
	}
	next, took := f.answered+1, time.Since(time.Unix(0, f.said.Load()))
	renew := first || f.calm > 0 // by which each PING has the whole grace
	if renew {
		f.patience.Stop()
	}
	time.AfterFunc(max(pause, 2*took), func() {
		if renew {
			f.patience.Reset(f.grace)
		}
		f.due.Store(next)
		f.trySay()
	})
}

// SetReadDeadline implements net.Conn.
func (f *framed) SetReadDeadline(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended.Load() {
		return nil
	}
	return f.Conn.SetReadDeadline(t)
}

// SetDeadline implements net.Conn.
func (f *framed) SetDeadline(t time.Time) error {
	if err := f.SetReadDeadline(t); err != nil {
		return err
	}
	return f.SetWriteDeadline(t)
}

// Close implements net.Conn. A server closes a second after it has written its last frame, which the kernel may still have:
// it would throw that away when the next frame of the client's arrives, and clients that are slow to read send many.
func (f *framed) Close() error {
	if f.ended.Load() && !f.lingers.Swap(true) && f.done() {
		if tc, ok := f.Conn.(*tls.Conn); ok {
			_ = tc.CloseWrite()
		}
		_ = f.own.CloseWrite()
		for !delivered(f.own.Conn) {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return f.Conn.Close()
}

// done tells whether the server has said its own GOAWAY, and nothing that was written has failed.
func (f *framed) done() bool {
	if !f.writing.TryLock() {
		return false
	}
	defer f.writing.Unlock()
	return f.broken == nil && f.out.goaway && f.out.between()
}
