package listener

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/baton-go/baton/listener/internal/quirks"
	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// Read implements net.Conn. While the set leaves and no request can be under way, Read offers the
// connection to the drainer first. Once the connection is gone, it returns an error.
func (c *conn) Read(p []byte) (int, error) {
	if c.adopted.known != nil {
		<-c.adopted.known
	}
	// The order matters: a drainer that has claimed c looks at the state then.
	if (c.state.Load() == 0 || c.move.claimed.Load()) && c.hasSaid() != sniff.SaidMore {
		c.firstReader.Lock()
		defer c.firstReader.Unlock()
	}
	c.deadlines.reads.Add(1)
	n, err := c.readOn(p)
	c.deadlines.reads.Add(-1)
	return n, err
}

func (c *conn) readOn(p []byte) (int, error) {
	if !c.released.Load() { // the server that has a preface goes on with c
		if c.resumed != nil {
			if n := c.resumed.preface(p); n > 0 {
				return n, nil
			}
		}
	}
	seen := c.speaks.Load() != insealed // what is read here is what the server reads
	offered, ahead := len(p), false
	if seen {
		ahead = c.input.lines.Ahead.Load() > 0
		http1{c}.lookAtBuffer(offered, ahead)
	} else {
		offered = c.serverRead.offered
	}
	for {
		if c.released.Load() { // net/http may ask again
			return 0, c.end()
		}
		if c.deadlines.aborted() && c.is(http.StateActive) {
			return 0, os.ErrDeadlineExceeded // a wrapper's Read may have set another deadline since
		}
		d := c.set.leaving.Load()
		if d != nil && c.awaitsRequest() && d.release(c, c.protocol().atRest(offered, ahead)) {
			if c.released.Store(true); c.state.Load() == 0 {
				c.closeUnmet()
			}
			continue
		}
		if seen && (len(p) == quirks.ReadSize || c.wrapper.seen.Load()) && c.awaitsRequest() {
			c.input.lines.Clear() // the server's buffer is empty, or as good as that
		}
		var n int
		var err error
		switch {
		case c.isBehind(offered):
			n, err = c.readBehind(p)
		case !c.canPark(offered, ahead):
			n, err = c.Conn.Read(p)
		case c.awaitUnpark():
			continue
		default:
			n, err = c.readParked(p)
		}
		if n > 0 {
			c.deadlines.lose(deadlineNone)
			if !seen {
				c.received(p, n)
				return n, err
			}
			if n = c.skipLineEnds(p, n); n == 0 && err == nil {
				continue
			} else if n > 0 {
				c.received(p, n)
			}
			return n, err
		}
		switch {
		case err == nil:
			return n, err
		case errors.Is(err, sockopt.ErrStays):
		case !isTimeout(err):
			c.clientClosed.Store(true)
			return n, err
		case c.userDeadlinePassed():
			return n, err
		}
	}
}

// end is the error of Read on a released connection. At it net/http closes without an answer. At
// io.EOF in the middle of a request net/http would send an answer, and a wrapper may hold the
// beginning of a request.
func (c *conn) end() error {
	if c.closing.inHead.Load() || c.wrapper.seen.Load() {
		return &net.OpError{Op: "read", Net: c.LocalAddr().Network(), Source: c.LocalAddr(),
			Addr: c.RemoteAddr(), Err: net.ErrClosed}
	}
	return io.EOF
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if !c.hasWritten.Load() {
		c.beforeWrite()
	}
	n, err := c.Conn.Write(p)
	if n > 0 && (c.is(http.StateNew) || c.is(http.StateIdle)) && c.input.sinceIdle.Load() && c.protocol().rejects(p) {
		c.rejected.Store(true) // else it was a handshake's record, or a short one between two requests
	}
	return n, err
}
