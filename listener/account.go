package listener

import (
	"net/http"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// record makes an entry in the loss ledger. It reports false where there is no kind.
func (c *conn) record(l Loss) bool {
	s := c.set
	switch l.Kind {
	case "":
		return false
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
	s.cfg.OnLoss(l)
	return true
}

// recordLosses keeps the loss ledger of a connection that is about to be closed while the set
// leaves. With force, the set closes everything. Without, a server closes a connection that it is
// done with, or the program cuts off what is under way.
func (c *conn) recordLosses(force bool) {
	p := c.protocol()
	waits := c.awaitsRequest()
	switch {
	case c.move.done.Load() || c.inProcess() || waits && c.rejected.Load():
	case c.closing.inHead.Load():
		c.record(Loss{Kind: p.part()})
	case !waits && (force || c.busy()):
		for _, q := range c.inFlight() {
			l := Loss{Kind: LostCutOff, Method: q.method, Path: q.path(), Unread: sockopt.Unread(c.Conn)}
			if q.began != 0 {
				l.Age = now() - q.began
			}
			if c.isHTTP2() || c.is(http.StateActive) {
				c.set.lost.Add(1)
			}
			c.record(l)
		}
	case waits:
		if !c.recordUnread() && !c.clientClosed.Load() {
			c.record(Loss{Kind: p.part()})
		}
	case c.is(http.StateActive):
		// The server has answered, or given up. What is unread may be the rest of the request's
		// body. If another request is unread, or in the server's buffer, the client sent it before
		// it knew.
		n := sockopt.Unread(c.Conn)
		c.record(Loss{Kind: p.behind(n), Unread: n})
	}
}

// recordUnread makes an entry of what the client has sent and the server has not read, unless no client
// misses that.
func (c *conn) recordUnread() bool {
	n := sockopt.Unread(c.Conn)
	return n > 0 && c.record(Loss{Kind: c.protocol().unread(sockopt.Peek(c.Conn, n), n), Unread: n})
}

// requestBegins is called before the handler of r, requestEnds after it.
func (c *conn) requestBegins(r *http.Request) {
	if c.requests.bodyLength.Load() != r.ContentLength {
		c.requests.bodyLength.Store(r.ContentLength)
	}
	q := request{r.Method, r.RequestURI, c.set.clock.now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !isStream(r) {
		c.requests.serving, c.requests.handled = q, true
		return
	}
	if c.requests.streams == nil {
		c.requests.streams = make(map[*http.Request]request)
	}
	c.requests.streams[r] = q
	if !c.requests.countsStreams.Swap(true) {
		c.requests.count.Store(0) // net/http says that it is active before there is a request, and not for each
	}
	c.requests.count.Add(1)
}

func (c *conn) requestEnds(r *http.Request) {
	if c.set.leaving.Load() != nil {
		c.set.finished.Add(1)
	}
	if isStream(r) {
		c.streamEnds(r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.session.hijacked: // the request goes on
		c.session.handlerLeft = true
	default:
		c.requests.serving = request{}
	}
}

// streamEnds is requestEnds of a stream. Net/http may have said before that no stream is open.
func (c *conn) streamEnds(r *http.Request) {
	c.mu.Lock()
	delete(c.requests.streams, r)
	none := len(c.requests.streams) == 0
	c.mu.Unlock()
	if f := c.http2.by.Load(); f != nil && none {
		f.Rests()
	}
}

// isStream tells a request of HTTP/2 from one by which a handler takes the connection to speak
// HTTP/2 itself.
func isStream(r *http.Request) bool { return r.ProtoMajor == 2 && r.Method != "PRI" }

// inFlight returns the requests that are being served. One without a began stands for a request of
// which nothing is known.
func (c *conn) inFlight() (all []request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range c.requests.streams {
		all = append(all, q)
	}
	if c.isHTTP2() && (len(all) > 0 || c.requests.serving.began == 0) {
		return all
	}
	return append(all, c.requests.serving)
}

// busy tells whether a handler is under way and net/http has no reason to close. Net/http closes
// when the handler has ended or, in HTTP/2, when the client has gone. A handler that has hijacked
// the connection ends it as it likes.
func (c *conn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.requests.streams) > 0 {
		return !c.clientClosed.Load()
	}
	return !c.session.hijacked && c.requests.serving.began != 0
}
