package drain

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A link of a play is two ends in memory. A process has an end open by a handle, and passes it on by a token: a file
// that stands for it.

// end is one of the two of a link.
type end struct {
	*play
	peer   *end
	file   *os.File // stands for it where it is passed on
	open   int      // handles
	flying int      // tokens on their way
	came   []byte
	fds    []flight
	coming int // messages that are late
	after  time.Time
	cut    bool
}

// flight are descriptors that come with the byte at that place.
type flight struct {
	at  int
	fds []int
}

// handle is an end that a process has open.
type handle struct {
	*end
	of     *actor
	closed bool
	deaf   bool // CloseRead
	by     time.Time
}

func (p *play) newEnd() (*end, error) {
	fd, err := unix.MemfdCreate("end", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	e := &end{play: p, file: os.NewFile(uintptr(fd), "end")}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	p.ends[st.Ino] = e
	return e, nil
}

func (e *end) token() (*os.File, error) {
	fd, err := unix.FcntlInt(e.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return os.NewFile(uintptr(fd), "token"), err
}

// endOf is the one for which a file stands, or nil.
func (p *play) endOf(f *os.File) *end { return p.endOfFD(int(f.Fd())) }

func (p *play) endOfFD(fd int) *end {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return nil
	}
	return p.ends[st.Ino]
}

// take opens an end in this process.
func (a *actor) take(e *end) *handle {
	h := &handle{end: e, of: a}
	e.open++
	a.has = append(a.has, h)
	if a.gone {
		h.closeLocked()
	}
	return h
}

func (h *handle) closeLocked() {
	if !h.closed {
		h.closed = true
		h.open--
		h.moved.Broadcast()
	}
}

func (h *handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closeLocked()
	return nil
}

// isHung tells whether nothing comes any more but what has come.
func (e *end) isHung() bool { return e.cut || e.peer.open == 0 && e.peer.flying == 0 }

func (h *handle) Read(b []byte) (int, error) {
	n, fds, err := h.ReadFDs(b)
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	return n, err
}

func (h *handle) ReadFDs(b []byte) (n int, fds []int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.closed:
			return 0, nil, net.ErrClosed
		case !h.by.IsZero() && !time.Now().Before(h.by):
			return 0, nil, os.ErrDeadlineExceeded
		case len(h.came) > 0:
			n = copy(b, h.came)
			if len(h.fds) > 1 { // no read goes over the place where others begin
				n = min(n, h.fds[1].at)
			}
			if len(h.fds) > 0 && h.fds[0].at < n {
				fds, h.fds = h.fds[0].fds, h.fds[1:]
			}
			for i := range h.fds {
				h.fds[i].at -= n
			}
			h.came = h.came[n:]
			return n, fds, nil
		case h.deaf, h.isHung() && h.coming == 0:
			return 0, nil, io.EOF
		}
		h.moved.Wait()
	}
}

func (h *handle) Write(b []byte) (int, error) { return h.WriteFDs(b, nil) }

// WriteFDs is called once for each message.
func (h *handle) WriteFDs(b []byte, files []syscall.Conn) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, net.ErrClosed
	}
	h.sent++
	m := &letter{end: h.end, from: h.of, to: h.peer.reader()}
	h.note("%d: %d says %s", h.sent, h.of.pid, words(b))
	if happens := h.at[h.sent]; happens != nil && m.to != nil {
		happens(m)
	}
	if h.closed || h.isHung() {
		return 0, syscall.EPIPE
	}
	var said message
	_ = json.Unmarshal(b[min(8, len(b)):], &said)
	switch said.Kind {
	case kindServing:
		h.of.serves = true
	case kindHurry:
		h.of.hurries(m.to)
	}
	var fds []int
	for _, f := range files {
		fd := -1
		rc, err := f.SyscallConn()
		if err == nil {
			err = rc.Control(func(n uintptr) { fd, _ = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) })
		}
		if err != nil {
			return 0, err
		}
		if e := h.endOfFD(fd); e != nil {
			e.flying++
		}
		fds = append(fds, fd)
	}
	whole, to := slices.Clone(b), h.peer
	arrive := func() {
		if len(fds) > 0 {
			to.fds = append(to.fds, flight{len(to.came), fds})
		}
		to.came = append(to.came, whole...)
		to.moved.Broadcast()
	}
	if by := time.Now().Add(m.late); by.After(to.after) {
		to.after = by
	}
	to.soon(arrive)
	if m.dies {
		h.of.kill()
	}
	return len(b), nil
}

// soon calls f when the reader has read what has come before: it may be slow. The caller holds mu, as f does.
func (e *end) soon(f func()) {
	wait := time.Until(e.after)
	if wait <= 0 {
		f()
		return
	}
	e.coming++
	time.AfterFunc(wait, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.coming--
		f()
	})
}

// words is a message without its head.
func words(b []byte) string {
	if len(b) < 8 {
		return fmt.Sprint(len(b), " bytes")
	}
	return string(b[8:])
}

// reader is the process that has an end open, nil where none has.
func (e *end) reader() *actor {
	for _, a := range e.all {
		for _, h := range a.has {
			if h.end == e && !h.closed {
				return a
			}
		}
	}
	return nil
}

func (h *handle) SetReadDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.by = t
	h.moved.Broadcast()
	if wait := time.Until(t); wait > 0 {
		time.AfterFunc(wait, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.moved.Broadcast()
		})
	}
	return nil
}

func (h *handle) SetWriteDeadline(time.Time) error { return nil }

func (h *handle) CloseRead() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deaf = true
	h.moved.Broadcast()
	return nil
}

func (h *handle) Calm() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.closed && len(h.came) == 0 && h.coming == 0 && !h.isHung()
}

func (h *handle) Hung() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed || h.isHung()
}

func (h *handle) SyscallConn() (syscall.RawConn, error) { return h.file.SyscallConn() }
