package listener

import (
	"bytes"
	"net/http"
	"slices"

	"github.com/baton-go/baton/listener/internal/quirks"
	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// http1 is a connection in plain text: its bytes are seen as the server reads them.
type http1 struct{ *conn }

// A wrapper may have state of its own, which can't be handed over.
func (c http1) movable() bool { return !c.wrapper.seen.Load() }

// atRest takes three facts for net/http between two requests, and a test for each:
//   - Nothing was read since it called itself idle.
//   - It has set its deadline for the wait and not the next, which it does as soon as four bytes are
//     there. A pipelined request line may have emptied the buffer since.
//   - It offers its whole buffer to Read. So the buffer holds nothing, or line ends only, see blank.
//
// What a wrapper has read of a new connection may have been a TLS handshake, and its buffer can't be
// known. So wrapped connections are only closed, after a grace. A wrapper that sets a deadline in
// its own Read, as an idle timeout does, hides the second fact. Then a pipelined request line that
// was read ahead, and had not begun when this Read did, tells the same.
func (c http1) atRest(offered int, ahead bool) bool {
	if c.talk != nil {
		return c.awaitsRequest() && c.talk.rests()
	}
	if c.is(http.StateNew) {
		return !c.input.sinceIdle.Load()
	}
	wrapped := c.wrapper.seen.Load()
	between := c.settled() || (c.wrapper.hides.Load() || wrapped) && !ahead
	empty := offered == quirks.ReadSize || wrapped
	return c.awaitsRequest() && between && (c.onlyLineEnds(offered) || !c.input.sinceIdle.Load() && empty)
}

// seesBuffer tells whether Read is offered net/http's own buffer, with plain text in it. A wrapper
// may have a buffer of another size.
func (c http1) seesBuffer() bool {
	s := c.speaks.Load()
	return s == insealed || s == plain && (!c.wrapper.seen.Load() || c.input.tail.Whole)
}

// lookAtBuffer looks at what the server has in its buffer at the first Read since the connection is
// idle. Net/http may have taken a request line that was read ahead, and whole lines behind it, out
// of the buffer.
func (c http1) lookAtBuffer(offered int, ahead bool) {
	if offered == quirks.ReadSize {
		c.input.tail.Whole = true
	}
	if c.input.sinceIdle.Load() || !c.is(http.StateIdle) || !c.seesBuffer() {
		return
	}
	n := quirks.ReadSize - offered
	p := c.input.tail.Kept(n)
	if ahead && !c.settled() && !c.wrapper.hides.Load() {
		c.input.sinceIdle.Store(true)
	} else if n > 0 && c.input.head.Load() == 0 {
		c.input.head.Add(p)
		c.input.sinceIdle.Store(p == nil || sniff.HeadKind(p, false) != "")
	}
}

// onlyLineEnds tells whether the server's buffer has whole line ends, and nothing else. The server
// needs four bytes before it goes on, so it waits as it does for the first. No client misses line
// ends.
func (c http1) onlyLineEnds(offered int) bool {
	const needed = 4
	n := quirks.ReadSize - offered
	p := c.input.tail.Kept(n)
	return 0 < n && n < needed && len(p) == n && p[n-1] == '\n' && len(bytes.Trim(p, "\r\n")) == 0 && c.seesBuffer()
}

func (c http1) received(p []byte, offered int) {
	switch {
	case c.awaitsRequest():
		c.input.head.Add(p)
	case offered == 1 && c.is(http.StateActive): // behind a handler's back, see conn.read
		c.input.head.Store(0)
		c.input.head.Add(p)
		c.input.nextByte.Store(true)
	}
	if offered <= quirks.ReadSize { // what is larger is a handler's, for a body
		c.input.lines.Feed(p)
		c.input.tail.Add(p)
	}
}

func (c http1) part() LossKind {
	if !c.input.sinceIdle.Load() && !c.closing.inHead.Load() {
		return ""
	}
	return LossKind(c.input.head.Kind())
}

func (c http1) unread(p []byte, n int) LossKind {
	p, n, part := c.behindProxy(p, n)
	switch {
	case part:
		return LostPart
	case n == 0:
		return ""
	case len(p) == 0:
		return LostRequest
	case !c.input.sinceIdle.Load():
		return LossKind(sniff.HeadKind(p, n > len(p)))
	case sniff.HeadEnds(p):
		return LostRequest
	}
	return LostPart
}

// behindProxy takes a header of the PROXY protocol off n bytes. A wrapper may be about to read it.
func (c http1) behindProxy(p []byte, n int) (rest []byte, left int, part bool) {
	if c.input.sinceIdle.Load() || !c.is(http.StateNew) || !c.wrapper.seen.Load() || sniff.MayBeProxy(p) {
		return p, n, false
	}
	rest, part = sniff.BehindProxy(p)
	return rest, n - len(p) + len(rest), part
}

// behind looks for another request line in what was read, and in what lies unread. The latter
// seldom begins with one: the server's buffer cuts a request in two wherever it is full. Behind a
// body, which may have been left unread, only whole request lines count.
func (c http1) behind(n int) LossKind {
	body, ahead := c.requests.bodyLength.Load(), int64(c.input.lines.Ahead.Load())
	if body >= 0 && !c.wrapper.seen.Load() && ahead > body/int64(sniff.LineEnd) { // the body has no room for as many
		return LostRequest
	}
	p := sockopt.Peek(c.Conn, n)
	switch {
	case n == 0:
	case sniff.LooksLikeHead(p):
		return LostRequest
	case 0 <= body && body < int64(len(p)): // or all of it may be the body
		if c.linesIn(p[body:], body == 0) > 0 {
			return LostRequest
		}
	}
	c.mu.Lock()
	handled := c.requests.handled
	c.mu.Unlock()
	if !handled || body != 0 || !c.seesBuffer() {
		return ""
	}
	read, all := c.input.tail.AfterHead()
	if !all {
		return LostPart
	}
	return LossKind(sniff.HeadKind(slices.Concat(read, p), false))
}

// linesIn counts the request lines in p; next tells that p follows what was read.
func (c http1) linesIn(p []byte, next bool) int32 {
	var l sniff.RequestLines
	if next {
		l.Matched.Store(c.input.lines.Matched.Load())
	}
	l.Feed(p)
	return l.Ahead.Load()
}

func (c http1) rejects([]byte) bool { return true }
