// Package port serves ports where balancers connect and say nothing, or nothing that matters.
package port

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// MaxLingering is how many connections may take LingerTime at once.
	MaxLingering = 64
	acceptWait   = 50 * time.Millisecond
)

// LingerTime is given a peer to read what it was sent, and to close; more by a test in which it sends much.
var LingerTime = time.Second

// Lingering is connections that are being closed. To close one with something
// unread in it would reset it, and the answer with it. The zero value has none. Wait waits until all are closed.
type Lingering struct {
	sync.WaitGroup
	mu sync.Mutex // guards n
	n  int
}

// Accept gives each connection on ln to answer, until ln is closed. It then closes the connection when its peer has, or
// has had the time to, and calls what answer has returned.
func (l *Lingering) Accept(ln net.Listener, answer func(net.Conn) (closed func())) {
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			l.close(nc, answer(nc))
		case errors.Is(err, net.ErrClosed):
			return
		default: // out of descriptors, most likely
			time.Sleep(acceptWait)
		}
	}
}

func (l *Lingering) close(nc net.Conn, closed func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == MaxLingering {
		_ = nc.Close()
		closed()
		return
	}
	l.n++
	l.Go(func() {
		if half, ok := nc.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		_ = nc.SetReadDeadline(time.Now().Add(LingerTime))
		_, _ = io.Copy(io.Discard, nc)
		_ = nc.Close()
		closed()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.n--
	})
}
