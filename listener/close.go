package listener

import (
	"net/http"
	"sync"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.set.forceClosing.Load() { // it is about to be closed, see cut
		go func() { _ = c.close(true) }()
		return nil
	}
	return c.close(false)
}

func (c *conn) close(force bool) error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if again {
		return c.Conn.Close()
	}
	if c.set.leaving.Load() != nil {
		c.recordLosses(force)
		if !force {
			c.lingeringClose()
		}
	}
	if c.shared.Load() && !c.moved.Load() {
		c.shutdownBoth()
	}
	err := c.Conn.Close()
	c.set.remove(c)
	return err
}

// part tells the client that the connection ends, though other processes may have a descriptor of it.
func (c *conn) shutdownBoth() {
	if sc, ok := c.Conn.(interface{ CloseRead() error }); ok {
		_ = c.CloseWrite()
		_ = sc.CloseRead()
	}
}

// The client of a connection that is closed behind an answer is given up when it has received nothing for lingering, or
// when it has taken longer than longest in all.
const lingerIdle, lingerMax = 500 * time.Millisecond, 5 * time.Second

// linger keeps the last answer from being thrown away. A client that sends more than was read, such as a
// pipelined request, has the connection reset by a close, and loses what it has not received. One that has sent
// requests one behind the other may send the next when all before is read.
func (c *conn) lingeringClose() {
	if !c.is(http.StateActive) || c.isHTTP2() || !isStreamSocket(c.Conn) ||
		sockopt.Unread(c.Conn) == 0 && !(c.lines.Pipelined.Load() && sockopt.Unsent(c.Conn) > 0) || c.CloseWrite() != nil {
		return
	}
	begin := time.Now()
	queued, since := -1, begin
	for !sockopt.Discard(c.Conn, 64<<10) && time.Since(begin) < lingerMax {
		n := sockopt.Unsent(c.Conn)
		if n != queued {
			queued, since = n, time.Now()
		}
		if n == 0 || time.Since(since) > lingerIdle {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Closing a connection waits until the goroutines that read and write have let go of its
// descriptor. With a flood of work they may take long to get their turn, one connection after the
// other, while the owner of the set is to go on: many are closed at once, and after cutWait the
// rest goes on by itself.
const (
	forceCloseWorkers = 256
	forceCloseWait    = time.Second
)

func (s *Set) forceClose(conns []*conn) {
	s.forceClosing.Store(true)
	over := make(chan struct{})
	go func() {
		defer close(over)
		var running sync.WaitGroup
		room := make(chan struct{}, forceCloseWorkers)
		for _, c := range conns {
			room <- struct{}{}
			running.Go(func() {
				_ = c.close(true)
				<-room
			})
		}
		running.Wait()
	}()
	wait := time.NewTimer(forceCloseWait)
	defer wait.Stop()
	select {
	case <-over:
	case <-wait.C:
	}
}

const unservedGrace = time.Second

// dismiss closes what came through sockets on which nobody has ever called Accept, when the grace
// of a departure is over: a program may listen and never serve. One that is about to has a second.
func (s *Set) closeUnserved() {
	for _, c := range s.all() {
		if c.sock == nil || c.sock.acceptCalled.Load() {
			continue
		}
		c.recordUnread()
		_ = c.close(false)
	}
}
