package listener

import "context"

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
	if !c.handlerLeft || c.closed || ctx.Err() == context.DeadlineExceeded {
		return false
	}
	c.sessions = append(c.sessions, end)
	return true
}
