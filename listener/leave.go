package listener

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/baton-go/baton/listener/internal/h2drain"
)

// Reads are interrupted in groups, each when most of the one before has been handed over. A client whose connection
// is on its way waits as long as two groups take: with 256 that was 20 ms, with 64 it is 5. The first is smaller
// still: the other process begins then.
const firstGroup, lastGroup = 16, 64

var errLeft = errors.New("listener: Leave or Close was called before")

// Leave stops accepting, and lets each connection go as soon as no request can be under way on it. It
// returns nil when none is left, or ctx's error. Plaintext HTTP/1.1 connections of tracked servers
// go to handover. Leave closes the others, those that handover did not want, and all where handover
// is nil or has failed. It closes each when it has rested for grace with nothing unread. It closes none
// before half of the grace has passed here, and spreads the closes over the other half. So a client
// that never rests as long finds its connection open. Its rest begins when it has received the last
// answer, or has stopped receiving.
//
// A server learns a moment later that a connection was handed over, perhaps after Leave has returned. Then its
// goroutine ends, its descriptor is closed, and ConnState hears of http.StateClosed. If the process ends first, none of
// that comes.
//
// Requests that arrive meanwhile are answered, with "Connection: close". Of several that were sent
// one behind the other, the last answer says so, as far as that can be seen: in TLS only by ServeTLS.
//
// A client that has sent a part of a request's head, or of a TLS record, has one grace to finish
// it, unless the server's own timeouts are over before. The grace begins with its first byte, or
// with Leave if that is later. Then the connection is closed without an answer, and counted. A client
// has two graces at most, however often it begins. The body of a request is waited for.
//
// A listener around one of this set may hold a connection before its tracked server gets it. One
// whose client has said nothing goes to handover or has its grace; a part of a PROXY header, of a
// handshake or of a request's head has one grace. What may be a request, of any protocol, is waited
// for, and so is a connection on which another server has answered.
//
// HTTP/2 connections without TLS, or with a TLSListener's, go to handover, too, when no stream is open on them, and
// HTTP/2 has not begun in a handler. Those that have not gone in half of grace, and all others, are sent a GOAWAY,
// spread over half of grace. They end when their streams have. If the client does not close its connection then,
// net/http closes it one second later. The requests that a client sends until it has seen the GOAWAY are answered.
//
// A client has grace to answer each PING. On Linux it has five graces, if its kernel has received the PING, or while
// something comes from it; that is no more than 5s, unless grace is longer. A client that has begun a frame and stops,
// or that does not take the server's GOAWAY, has grace too, unless a request is under way.
//
// Connections of untracked servers, and HTTP/2 of servers that net/http or golang.org/x/net/http2
// (from v0.31.0) have not configured, are waited for but never closed: http.Server.Shutdown knows
// how. It must not be called before all others are gone, since it drops requests that it has read.
//
// Reads from the packet sockets end, see ListenPacket. Leave does not wait for a reader's work.
// Where handover is nil, what http.Servers were given by RegisterOnShutdown is called first, otherwise
// once the sockets are closed: clients that it sends away are to meet the other process.
//
// Leave may be called once: after another Leave, or Close, it returns an error and does nothing. Hurry shortens the
// grace.
func (s *Set) Leave(ctx context.Context, handover Handover, grace time.Duration) error {
	d := newDrainer(s)
	d.grace.Store(int64(max(0, grace)))
	d.from.Store(int64(now()))
	if handover == nil {
		d.end()
	}
	if !s.leaving.CompareAndSwap(nil, d) {
		return errLeft
	}
	s.Unpark()
	if most := s.hurried.Load(); most != nil {
		s.Hurry(*most)
	}
	if handover == nil {
		s.tracked.shutdown()
		s.lastReads(ctx)
	} else {
		s.endReads(ctx)
	}
	if handover != nil {
		var done sync.WaitGroup
		for range handoverWorkers {
			done.Go(func() { d.run(ctx, handover) })
		}
		defer done.Wait()
	}
	swept := s.shut(ctx, true, handover == nil)
	if handover != nil {
		s.tracked.shutdown() // now that a client of theirs that comes back meets the other process
	}
	conns := s.all()
	time.AfterFunc(max(time.Duration(d.grace.Load()), unservedGrace), s.closeUnserved)
	d.spreadGoAway(conns, (*h2drain.Conn).Leave)
	closeForeigns(conns)
	d.interruptReads(ctx, conns)
	go d.catchUp()
	for _, gone := range []func() <-chan struct{}{func() <-chan struct{} { return swept }, s.drained} {
		select {
		case <-gone():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close closes every listener, packet socket and connection at once and returns what was open.
func (s *Set) Close() Counts {
	d := newDrainer(s)
	d.end()
	s.leaving.CompareAndSwap(nil, d)
	s.Unpark()
	s.shut(context.Background(), false, false)
	left := s.Counts()
	for _, g := range s.gates() {
		_ = g.Close()
	}
	s.forceClose(s.all())
	return left
}

// interruptReads makes blocked Reads look at the drainer, some at a time. A connection that waits
// to be handed over keeps its client waiting; one that was not interrupted yet is served on.
func (d *drainer) interruptReads(ctx context.Context, conns []*conn) {
	for size := firstGroup; len(conns) > 0; size = min(2*size, lastGroup) {
		group := conns[:min(size, len(conns))]
		conns = conns[len(group):]
		for _, c := range group {
			d.interrupt(c)
		}
		runtime.Gosched() // let them make their offers
		for !d.isOver() && d.moving.Load() >= int32(size) {
			select {
			case <-d.answered:
			case <-d.over:
			case <-ctx.Done():
				return
			}
		}
	}
}

// interrupt makes the reader of c look at the drainer, or does so itself where c has no reader yet.
func (d *drainer) interrupt(c *conn) {
	f := c.http2.by.Load()
	switch {
	case c.unmet():
		go d.drainUnmet(c)
	case f == nil:
		c.interruptRead()
	case d.canMoveHTTP2(c):
		f.Move()
	}
}

// Hurry gives the connections that are at rest during a Leave less grace than that was called with,
// from now on. More changes nothing. A Hurry that comes before Leave holds from its beginning.
// HTTP/2 clients have that grace for all PINGs together.
func (s *Set) Hurry(grace time.Duration) {
	early := &grace
	for old := s.hurried.Load(); old == nil || grace < *old; old = s.hurried.Load() {
		if s.hurried.CompareAndSwap(old, early) {
			break
		}
	}
	d := s.leaving.Load() // after hurried is set: Leave looks at that when it has set leaving
	if d == nil || int64(grace) >= d.grace.Load() {
		return
	}
	d.from.Store(int64(now()))
	d.grace.Store(int64(max(0, grace)))
	d.hurried.Store(true)
	conns := s.all()
	d.spreadGoAway(conns, (*h2drain.Conn).Hurry)
	for _, c := range conns {
		c.mu.Lock()
		c.closing.notBefore = 0
		c.mu.Unlock()
		d.interrupt(c)
	}
	closeForeigns(conns)
}
