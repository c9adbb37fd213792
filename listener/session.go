package listener

import (
	"context"
	"time"
)

// Session returns a context that ends with ctx, which is a request's or comes from one. A handler of
// a tracked server may hijack the connection and return, which ends the request's context. The
// session goes on then: what Session returns ends when the connection is closed, or at the deadline
// of ctx. That also holds when it is called after the handler has returned.
func Session(ctx context.Context) context.Context {
	c, _ := ctx.Value(connKey{}).(*conn)
	if c == nil || c.foreign || c.isHTTP2() {
		return ctx
	}
	session, end := context.WithCancelCause(context.WithoutCancel(ctx))
	over := func() {
		if !c.outlives(ctx, func() { end(context.Canceled) }) {
			end(context.Cause(ctx))
		}
	}
	if ctx.Err() != nil {
		over()
	} else {
		context.AfterFunc(ctx, over)
	}
	if at, ok := ctx.Deadline(); ok {
		timed, stop := context.WithDeadline(session, at)
		context.AfterFunc(timed, stop)
		return timed
	}
	return session
}

// outlives tells whether a session on c goes on after the end of its request's context. Then it calls
// end when c is closed.
func (c *conn) outlives(ctx context.Context, end func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.session.handlerLeft || c.closed || ctx.Err() == context.DeadlineExceeded {
		return false
	}
	c.session.ends = append(c.session.ends, end)
	return true
}

// goAwayTime is how long GoAway waits for a client that does not read.
const goAwayTime = 100 * time.Millisecond

// GoAway is for a handler that is about to end because its set leaves; ctx is its request's, or comes from that. Over
// HTTP/2 it sends the GOAWAY that Leave sends in its turn. So the client knows, when the stream ends, that it is to
// come back on another connection. GoAway waits until that is written, for 100ms at most. HTTP/1 has no such word.
func GoAway(ctx context.Context) {
	c, _ := ctx.Value(connKey{}).(*conn)
	if c == nil {
		return
	}
	d, h2 := c.set.leaving.Load(), c.http2.by.Load()
	if d == nil || h2 == nil {
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		h2.Leave(time.Duration(d.grace.Load()))
	}()
	late := time.NewTimer(goAwayTime)
	defer late.Stop()
	select {
	case <-written:
	case <-late.C:
	}
}

// Hijacked tells whether the handler of a tracked server, of whose request ctx is, or comes from, has hijacked the
// connection.
func Hijacked(ctx context.Context) bool {
	c, _ := ctx.Value(connKey{}).(*conn)
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session.hijacked
}
