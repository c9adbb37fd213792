package listener

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/h2state"
)

// resumption is a connection of HTTP/2 that goes on from another process.
type resumption struct {
	from  atomic.Pointer[resumptionFrom] // nil once the server speaks HTTP/2 on it
	given int                            // how much of the preface the server has read; the reader's
}

type resumptionFrom struct {
	state h2state.State
	text  []byte // state, as it came
}

// formHTTP2 is the Form of a ticket whose State is one of h2state: unencrypted HTTP/2 at rest.
const formHTTP2 = "h2c"

// resumeGrace is what a client has that must leave because the settings of the server are others.
const resumeGrace = 5 * time.Second

var errNoHTTP2 = errors.New("no server here speaks HTTP/2 on what it accepts")

// resume reads the state of a connection that belongs to so.
func (so *socket) resume(text []byte) (*resumption, error) {
	text = bytes.Clone(text) // which lies in that of others, or is cleared
	s, err := h2state.Parse(text)
	if err == nil && !so.http2.Load() {
		err = errNoHTTP2
	}
	if err != nil {
		return nil, fmt.Errorf("HTTP/2 on %s: %w", so.key, err)
	}
	r := new(resumption)
	r.from.Store(&resumptionFrom{s, text})
	return r, nil
}

// preface has the server read what a client begins with.
func (r *resumption) preface(p []byte) int {
	if r == nil || r.from.Load() == nil {
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

// resumes tells whether a server that is new to c comes to that state while it is brought to where
// another one was.
func (c *conn) resumes(state http.ConnState) bool {
	f := c.h2.Load()
	return f != nil && f.Opens() && (state == http.StateActive || state == http.StateIdle)
}
