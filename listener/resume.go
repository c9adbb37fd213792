package listener

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/h2state"
)

// resumption is a connection of HTTP/2 that goes on from another process.
type resumption struct {
	from   atomic.Pointer[resumptionFrom] // nil once the server speaks HTTP/2 on it
	given  int                            // how much of the preface the server has read; the reader's
	sealed bool                           // under TLS
}

type resumptionFrom struct {
	state h2state.State
	text  []byte // state, as it came
}

// resumeGrace is what a client has that must leave because the settings of the server are others.
const resumeGrace = 5 * time.Second

var errNoHTTP2 = errors.New("no server here speaks HTTP/2 on what it accepts")

var errTighter = errors.New("the server here permits less than its client may have sent: its HTTP2 or " +
	"MaxHeaderBytes is smaller than that of the process before")

// http2Limits are what a server is about to tell its clients. How many streams they may have is not
// in settings: a request too much is refused, and not lost.
type http2Limits struct {
	settings h2state.Settings
	window   int // for the connection
}

// limitsHTTP2 does as net/http does with what srv has been configured with. Another package's
// configuration is not seen: what it makes smaller, Opening.Tighter finds; with what it makes larger
// than net/http does, connections stay.
func limitsHTTP2(srv *http.Server) *http2Limits {
	own := srv.HTTP2
	if own == nil {
		own = new(http.HTTP2Config)
	}
	set := func(v, least, most, otherwise int) uint32 {
		if v < least || v > most {
			v = otherwise
		}
		return uint32(v)
	}
	const buffer, maxFrame = 1 << 20, 1<<24 - 1
	headers := srv.MaxHeaderBytes
	if headers <= 0 {
		headers = http.DefaultMaxHeaderBytes
	}
	return &http2Limits{h2state.Settings{
		h2state.TableSize:  set(own.MaxDecoderHeaderTableSize, 1, math.MaxInt32, 4096),
		h2state.WindowSize: set(own.MaxReceiveBufferPerStream, 1, math.MaxInt32, buffer),
		h2state.MaxFrame:   set(own.MaxReadFrameSize, 1<<14, maxFrame, buffer),
		h2state.MaxHeaders: uint32(headers + 10*32), // ten fields
	}, int(set(own.MaxReceiveBufferPerConnection, h2state.DefaultWindow, math.MaxInt32, buffer))}
}

// resume reads the state of a connection that belongs to so, and is sealed or not.
func (so *socket) resume(text []byte, sealed bool) (*resumption, error) {
	text = bytes.Clone(text) // which lies in that of others, or is cleared
	s, err := h2state.Parse(text)
	switch limits := so.http2.Load(); {
	case err != nil:
	case limits == nil || sealed != (so.secured.Load() != nil):
		err = errNoHTTP2
	case !s.Fits(limits.settings, limits.window):
		err = errTighter
	}
	if err != nil {
		return nil, fmt.Errorf("HTTP/2 on %s: %w", so.key, err)
	}
	r := &resumption{sealed: sealed}
	r.from.Store(&resumptionFrom{s, text})
	return r, nil
}

// preface has the server read what a client begins with. Under TLS that is h2drain's.
func (r *resumption) preface(p []byte) int {
	if r == nil || r.sealed || r.from.Load() == nil {
		return 0
	}
	n := copy(p, h2frame.Preface[r.given:])
	r.given += n
	return n
}

// unresumed is the state of a connection that no server here has gone on with yet, nil for others.
func (c *conn) unresumed() []byte {
	if c.resumed != nil {
		if from := c.resumed.from.Load(); from != nil {
			return bytes.Clone(from.text) // which is cleared, taken or not
		}
	}
	return nil
}

// offerUnresumed offers c, which no server speaks HTTP/2 on; one that has begun to meanwhile keeps c.
func (d *drainer) offerUnresumed(c *conn) (took bool) {
	state := c.unresumed()
	return (c.resumed == nil || state != nil) && d.offer(c, state)
}

// resumes tells whether a server that is new to c comes to that state while it is brought to where
// another one was.
func (c *conn) resumes(state http.ConnState) bool {
	f := c.http2.by.Load()
	return f != nil && f.Opens() && (state == http.StateActive || state == http.StateIdle)
}
