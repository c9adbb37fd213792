package health

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	lingerMost = 64 // connections that may take lingerTime at once
	acceptWait = 50 * time.Millisecond
)

// lingerTime is given a peer to read what it was sent, and to close; more by a test in which it sends much.
var lingerTime = time.Second

// accept gives each connection on ln to f, until ln is closed.
func accept(ln net.Listener, f func(net.Conn)) {
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			f(nc)
		case errors.Is(err, net.ErrClosed):
			return
		default: // out of descriptors, most likely
			time.Sleep(acceptWait)
		}
	}
}

// lingering is connections that are being closed. To close one with something
// unread in it would reset it, and the answer with it.
type lingering struct {
	sync.WaitGroup
	mu sync.Mutex // guards n
	n  int
}

// farewell closes nc when its peer has, or has had the time to, and calls then.
func (l *lingering) farewell(nc net.Conn, then func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == lingerMost {
		_ = nc.Close()
		then()
		return
	}
	l.n++
	l.Go(func() {
		if half, ok := nc.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		_ = nc.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.Copy(io.Discard, nc)
		_ = nc.Close()
		then()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.n--
	})
}
