package listener

import (
	"net/http"
	"slices"
	"time"

	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// lose makes an entry in the ledger.
func (c *conn) lose(l Loss) {
	s := c.set
	switch l.Kind {
	case LostRequest:
		s.lost.Add(1)
	case LostCutOff:
		s.cutOff.Add(1)
	case LostPart:
		s.partial.Add(1)
	case LostJunk:
		s.junk.Add(1)
	}
	l.Listener, l.Remote = c.key(), c.RemoteAddr().String()
	s.onLoss(l)
}

// account keeps the loss ledger of a connection that is about to be closed while leaving; with force, all are. Without,
// a server closes one that it is done with, or the program cuts off what is under way.
func (c *conn) account(force bool) {
	state := http.ConnState(c.state.Load() - 1)
	waits := c.waits()
	switch {
	case c.gone.Load() || c.within() || waits && c.answered.Load():
	case c.half.Load():
		c.losePart()
	case !waits && (force || c.busy()):
		for _, q := range c.inFlight() {
			l := Loss{Kind: LostCutOff, Method: q.method, Path: q.path()}
			if !q.began.IsZero() {
				l.Age = time.Since(q.began)
			}
			if c.h2.Load() || state == http.StateActive {
				c.set.lost.Add(1)
			}
			l.Unread = sockopt.Unread(c.Conn)
			c.lose(l)
		}
	case waits:
		if n := sockopt.Unread(c.Conn); n > 0 {
			if kind := c.kindOf(n); kind != "" {
				c.lose(Loss{Kind: kind, Unread: n})
				return
			}
		}
		if !c.parted.Load() && c.inHead(state) {
			c.losePart()
		}
	case state == http.StateActive && !c.h2.Load():
		// The server has answered, or given up, and what is unread may be the rest of the request's body. If it is
		// another request, or the server has one in its buffer, the client has sent that before it knew.
		n := sockopt.Unread(c.Conn)
		if c.followed(n) {
			c.lose(Loss{Kind: LostRequest, Unread: n})
		} else if kind := c.begunBehind(n); kind != "" {
			c.lose(Loss{Kind: kind, Unread: n})
		}
	}
}

// followed tells whether the client has sent another request line behind the last request. Of what
// it has sent, n bytes lie unread. They seldom begin with a request: the server's buffer cuts one
// in two wherever it is full.
func (c *conn) followed(n int) bool {
	body := c.body.Load()
	ahead := int64(c.lines.Ahead.Load())
	if body >= 0 && !c.wrapped.Load() && ahead > body/int64(sniff.LineEnd) { // a body has no room for as many
		return true
	}
	if n == 0 || c.records.Load() != nil {
		return false
	}
	p := sockopt.Peek(c.Conn, n)
	if sniff.LooksLikeHead(p) {
		return true
	}
	if body < 0 || body >= int64(len(p)) {
		return false // all of it may be the body
	}
	var l sniff.RequestLines
	if body == 0 {
		l.Matched.Store(c.lines.Matched.Load())
	}
	l.Feed(p[body:])
	return l.Ahead.Load() > 0
}

// begunBehind tells what the client has sent behind the last request, of which n bytes lie unread, where that is
// no whole request line. It is not known behind a body, which may have been left unread.
func (c *conn) begunBehind(n int) LossKind {
	c.mu.Lock()
	handled := c.handled
	c.mu.Unlock()
	if !handled || c.body.Load() != 0 || !c.sees() {
		return ""
	}
	p, all := c.behind.AfterHead()
	if !all {
		return LostPart
	}
	return LossKind(sniff.HeadKind(slices.Concat(p, sockopt.Peek(c.Conn, n)), false))
}

// losePart makes an entry of what was read, of a request that did not come whole.
func (c *conn) losePart() {
	kind := LostPart
	switch {
	case c.state.Load() == 0:
		if c.hasSaid() == sniff.SaidJunk {
			kind = LostJunk
		}
	case c.records.Load() == nil:
		kind = LossKind(c.head.Kind())
	}
	if kind != "" {
		c.lose(Loss{Kind: kind})
	}
}

// inHead tells whether the server has a part of a request.
func (c *conn) inHead(state http.ConnState) bool {
	switch {
	case c.state.Load() == 0:
		return c.hasSaid() == sniff.SaidPart || c.hasSaid() == sniff.SaidJunk
	case c.records.Load() == nil:
		return c.heard.Load()
	}
	return c.inRecord.Load() || state == http.StateIdle && c.heard.Load() && !c.settled()
}

// kindOf tells what the n bytes are that lie unread; "" for what no client misses.
func (c *conn) kindOf(n int) LossKind {
	p := sockopt.Peek(c.Conn, n)
	switch st := c.state.Load(); {
	case c.heard.Load():
	case st == 0:
		return LossKind(sniff.UnmetKind(p, n))
	case st-1 == int32(http.StateNew) && c.wrapped.Load() && len(p) > 0 && !sniff.MayBeProxy(p):
		rest, part := sniff.BehindProxy(p)
		if part {
			return LostPart
		}
		if n -= len(p) - len(rest); n == 0 {
			return ""
		}
		p = rest
	}
	switch {
	case c.records.Load() != nil:
		if c.inRecord.Load() {
			return LostPart
		}
		return LossKind(sniff.RecordsKind(p, n))
	case len(p) == 0:
		return LostRequest
	case c.heard.Load():
		if sniff.HeadEnds(p) {
			return LostRequest
		}
		return LostPart
	}
	return LossKind(sniff.HeadKind(p, n > len(p)))
}

// enter is told that a handler begins with r, leave that it has ended.
func (c *conn) enter(r *http.Request) {
	if c.body.Load() != r.ContentLength {
		c.body.Store(r.ContentLength)
	}
	q := request{r.Method, r.RequestURI, time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !isStream(r) {
		c.serving, c.handled = q, true
		return
	}
	if c.streams == nil {
		c.streams = make(map[*http.Request]request)
	}
	c.streams[r] = q
	if !c.counted.Swap(true) {
		c.requests.Store(0) // net/http says that it is active before there is a request, and not for each
	}
	c.requests.Add(1)
}

func (c *conn) leave(r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if isStream(r) {
		delete(c.streams, r)
	} else if !c.hijacked() { // it goes on where that was done
		c.serving = request{}
	}
}

// isStream tells a request of HTTP/2 from one by which a handler has taken the connection to speak HTTP/2 itself.
func isStream(r *http.Request) bool { return r.ProtoMajor == 2 && r.Method != "PRI" }

// inFlight returns the requests that are being served, where the server does not wait for one; one
// without a began stands for what is not known.
func (c *conn) inFlight() (all []request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range c.streams {
		all = append(all, q)
	}
	if c.h2.Load() && (len(all) > 0 || c.serving.began.IsZero()) {
		return all
	}
	return append(all, c.serving)
}

// busy tells whether a handler is under way, and net/http has no reason to close: it does so when the handler has ended
// or, in HTTP/2, when the client has gone. A handler that has taken a connection ends it as it likes.
func (c *conn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) > 0 {
		return !c.parted.Load()
	}
	return !c.taken && !c.serving.began.IsZero()
}
