//go:build unix

// Package link carries messages with descriptors between two generations of a service.
//
// It runs over a socketpair of stream type, since macOS knows no SOCK_SEQPACKET, and so needs frames. A frame is the
// length of the JSON text and the number of descriptors, as two big-endian 32-bit words, then the text. The descriptors
// travel with the frame's first byte. A socketpair has no name, so no other process can talk on it.
package link

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// MaxText is the most that a message can have, as JSON, in bytes.
	MaxText  = 1 << 20
	maxFiles = 128
)

// ErrPaused is what Receive returns after Pause.
var ErrPaused = errors.New("link: paused")

// Link is one end. Send and Post may be called from any goroutine, Receive from one.
type Link struct {
	conn Stream
	out  outbox

	pause   sync.Mutex // guards what follows, and the read deadline
	paused  bool
	waiting bool // Receive waits for a message, or is about to
	inFrame bool // its rest must be read, Pause or not
}

// Pair returns one end, and the other as a file for another process. The caller closes both.
func Pair() (*Link, *os.File, error) {
	near, far, err := newPair()
	if err != nil {
		return nil, nil, err
	}
	l, err := Open(near)
	if err != nil {
		_ = far.Close()
		return nil, nil, err
	}
	return l, far, nil
}

// Conn is Pair, but its end is a connection.
func Conn() (net.Conn, *os.File, error) {
	near, far, err := newPair()
	if err != nil {
		return nil, nil, err
	}
	defer near.Close()
	nc, err := net.FileConn(near)
	if err != nil {
		_ = far.Close()
		return nil, nil, fmt.Errorf("link: %w", err)
	}
	return nc, far, nil
}

func newPair() (near, far *os.File, err error) {
	syscall.ForkLock.RLock() // no child may inherit what is not yet close-on-exec
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("link: socketpair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "link"), os.NewFile(uintptr(fds[1]), "link"), nil
}

// Open makes a Link of a file from Pair in this or another process, and closes the file.
func Open(f *os.File) (*Link, error) {
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok || uc.LocalAddr().Network() != "unix" { // with datagrams, the end of the peer is not seen
		_ = nc.Close()
		return nil, fmt.Errorf("link: a %s connection instead of a unix stream", nc.LocalAddr().Network())
	}
	return Over(socket{uc}), nil
}

// Over makes a Link of a stream, which it closes with itself.
func Over(s Stream) *Link { return &Link{conn: s, out: outbox{conn: s}} }

// Close closes this end. What the other side has sent and Receive has not returned is lost.
func (l *Link) Close() error { return l.conn.Close() }

// SyscallConn lets a Link be sent over another.
func (l *Link) SyscallConn() (syscall.RawConn, error) { return l.conn.SyscallConn() }

// Receive waits for a message and stores it in msg. The caller closes the files, also when there is
// an error; there are fewer than were sent if this process is out of descriptors. It returns io.EOF
// when the other end is closed everywhere.
func (l *Link) Receive(msg any) ([]*os.File, error) {
	fds, err := l.ReceiveFDs(msg)
	return Files(fds), err
}

// Files makes files of descriptors.
func Files(fds []int) (files []*os.File) {
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "received"))
	}
	return files
}

// ReceiveFDs is Receive for bare descriptors. To make a file of a socket takes four system calls, and four to close it.
func (l *Link) ReceiveFDs(msg any) ([]int, error) {
	var head [8]byte
	l.await()
	defer l.between()
	n, files, err := l.readHead(head[:])
	if err != nil {
		return files, err
	}
	if err := l.readRest(head[n:]); err != nil {
		return files, err
	}
	length, count := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if length > MaxText || count > maxFiles || len(files) > int(count) {
		return files, fmt.Errorf("link: receive: no frame: %d bytes, %d descriptors", length, count)
	}
	text := make([]byte, length)
	defer clear(text) // there may be secrets in it
	if err := l.readRest(text); err != nil {
		return files, err
	}
	if err := json.Unmarshal(text, msg); err != nil {
		return files, fmt.Errorf("link: receive: %w", err)
	}
	return files, nil
}

// readHead reads the first bytes of a frame. Only before them can a Receive be paused.
func (l *Link) readHead(head []byte) (n int, files []int, err error) {
	n, files, err = l.conn.ReadFDs(head)
	l.pause.Lock()
	defer l.pause.Unlock()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, files, ErrPaused
	case err != nil && !errors.Is(err, io.EOF):
		return 0, files, fmt.Errorf("link: receive: %w", err)
	case n == 0:
		return 0, files, io.EOF
	}
	l.inFrame = true
	return n, files, l.limitLocked()
}

// limitLocked has the read that is under way, and the next ones, wait as long as they may.
func (l *Link) limitLocked() error {
	var by time.Time
	switch {
	case l.paused && l.inFrame:
		by = time.Now().Add(Patience)
	case l.paused:
		by = time.Unix(1, 0)
	}
	return l.conn.SetReadDeadline(by)
}

func (l *Link) readRest(b []byte) error {
	_, err := io.ReadFull(l.conn, b)
	if errors.Is(err, io.EOF) && len(b) > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("link: receive: %w", err)
	}
	return nil
}

func (l *Link) await() {
	l.pause.Lock()
	defer l.pause.Unlock()
	l.waiting = true
}

// between ends a frame. A Pause that came in the middle of it takes effect now.
func (l *Link) between() {
	l.pause.Lock()
	defer l.pause.Unlock()
	l.inFrame, l.waiting = false, false
	if l.paused {
		_ = l.limitLocked()
	}
}

// Finish makes Receive return io.EOF once it has returned what has arrived, although others hold the other end open.
func (l *Link) Finish() { _ = l.conn.CloseRead() }

// Pause makes Receive return ErrPaused between two messages, now and from now on: the process that
// gets the link next loses none. A message that has begun has Patience to end, or else the link is of no use.
func (l *Link) Pause() {
	l.pause.Lock()
	defer l.pause.Unlock()
	l.paused = true
	_ = l.limitLocked()
}

// Resume undoes Pause.
func (l *Link) Resume() {
	l.pause.Lock()
	defer l.pause.Unlock()
	l.paused = false
	_ = l.limitLocked()
}

// Quiet tells whether Receive has returned all that has arrived, and waits for more.
func (l *Link) Quiet() bool {
	l.pause.Lock()
	defer l.pause.Unlock()
	if !l.waiting || l.inFrame {
		return false
	}
	return l.conn.Calm()
}

// Hung tells whether the other end is closed everywhere; what has arrived may not have been received.
func (l *Link) Hung() bool { return l.conn.Hung() }
