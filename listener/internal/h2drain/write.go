package h2drain

import (
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// Write implements net.Conn.
func (f *Conn) Write(p []byte) (int, error) {
	if f.drain.Load() == nil && !f.notHTTP2.Load() && f.below.Due() {
		f.Leave(dueGrace)
	}
	f.writing.Lock()
	if f.broken != nil {
		f.writing.Unlock()
		return 0, f.broken
	}
	n, err := f.write(p)
	f.sendPing()
	f.writing.Unlock()
	f.trySendPing() // another goroutine that had something to say meanwhile did not wait
	return n, err
}

// write is called with writing held.
func (f *Conn) write(p []byte) (n int, err error) {
	if o := f.opening.Load(); o != nil {
		rest := o.hear(f, p)
		if len(rest) == 0 {
			return len(p), f.broken
		}
		n, err = f.pass(rest)
		return len(p) - len(rest) + n, err
	}
	if m := f.move.Load(); m != nil && m.asked.Load() {
		return f.withhold(m, p)
	}
	return f.pass(p)
}

func (f *Conn) pass(p []byte) (n int, err error) {
	n, err = f.Conn.Write(p)
	f.out.Scan(p[:n])
	f.failed = f.failed || err != nil
	return n, err
}

// sendPing sends the PING that is due, if it can be sent now. It must follow the server's first
// frame, which has to be SETTINGS. It is of no use after a GOAWAY of the server's own.
func (f *Conn) sendPing() {
	p := f.drain.Load()
	if p == nil || p.due.Load() == 0 || !f.out.Settings || !f.out.Between() || f.broken != nil || f.notHTTP2.Load() {
		return
	}
	n := p.due.Swap(0)
	if n == 0 || f.out.GoneAway {
		return
	}
	words := h2frame.Ping(n)
	if n == 1 {
		words = append(h2frame.GoAway(h2frame.MaxStream), words...)
	}
	p.sent.Store(time.Now().UnixNano())
	p.awaited.Store(n)
	_, f.broken = f.Conn.Write(words)
}

// trySendPing is sendPing for a goroutine that does not write. A goroutine that writes tries again
// at the end, however long that takes.
func (f *Conn) trySendPing() {
	if p := f.drain.Load(); p != nil && p.due.Load() != 0 && f.writing.TryLock() {
		f.sendPing()
		f.writing.Unlock()
	}
}
