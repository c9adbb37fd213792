package listener

import (
	"net/http"
	"sync"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.move.postponed.Load() { // its reader closes it then, or the end of this process
		return nil
	}
	if c.set.forceClosing.Load() { // it is about to be closed, see cut
		go func() { _ = c.close(true) }()
		return nil
	}
	return c.close(false)
}

func (c *conn) close(force bool) error {
	c.mu.Lock()
	again, sessions := c.closed, c.session.ends
	c.closed, c.session.ends = true, nil
	c.wipeTaken()
	c.unholdLocked()
	c.mu.Unlock()
	c.leaveRest(false)
	if again {
		return c.Conn.Close()
	}
	defer func() {
		for _, end := range sessions {
			end()
		}
	}()
	if c.ends() {
		c.recordLosses(force)
		if !force {
			c.lingeringClose()
		}
	}
	if !c.move.done.Load() && (c.move.shared.Load() || c.isHeldByElder()) {
		c.shutdownBoth()
	}
	err := c.Conn.Close()
	c.set.remove(c)
	return err
}

// heldTime is more than the process before this one takes to close its descriptors of what it has handed over, while
// it hands over thousands.
const heldTime = 10 * time.Second

// isHeldByElder tells whether the process from which c came may still have a descriptor of it, and no other process may
// have c. What HandOver gives is closed over there at once, or goes on there.
func (c *conn) isHeldByElder() bool {
	return !c.adopted.at.IsZero() && c.adopted.known == nil && time.Since(c.adopted.at) < heldTime &&
		!c.move.offered.Load() && !c.isHandingOver()
}

// shutdownBoth ends the connection for the client, though other processes may have a descriptor of
// it.
func (c *conn) shutdownBoth() {
	if sc, ok := c.Conn.(interface{ CloseRead() error }); ok {
		_ = c.CloseWrite()
		_ = sc.CloseRead()
	}
}

// A lingering close gives the client up when it has received nothing for lingerIdle, or after
// lingerMax in all.
const lingerIdle, lingerMax = 500 * time.Millisecond, 5 * time.Second

// lingeringClose keeps the last answer from being thrown away. If the client has sent more than was
// read, such as a pipelined request, a close resets the connection, and the client loses what it
// has not received. A client that pipelines may send its next request when all before is read.
func (c *conn) lingeringClose() {
	if !c.is(http.StateActive) || c.isHTTP2() || !isStreamSocket(c.Conn) {
		return
	}
	more := sockopt.Unread(c.Conn) > 0 || c.input.lines.Pipelined.Load() && sockopt.Unsent(c.Conn) > 0
	if more && c.CloseWrite() == nil {
		begin := time.Now()
		sockopt.AwaitReceived(c.Conn, func() time.Duration { return lingerIdle },
			func() bool { return time.Since(begin) > lingerMax })
	}
}

// A close waits until the goroutines that read and write have let go of the descriptor. Under load
// each takes long, and the owner of the set is to go on. So many connections are closed at once,
// and after forceCloseWait the rest goes on in the background.
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

// closeUnserved closes what came through sockets on which Accept was never called, when the
// grace is over: a program may listen and never serve. A program that is about to serve has a
// second.
func (s *Set) closeUnserved() {
	for _, c := range s.all() {
		if c.sock == nil || c.sock.acceptCalled.Load() {
			continue
		}
		c.leaveRest(false)
		c.recordUnread()
		_ = c.close(false)
	}
}
