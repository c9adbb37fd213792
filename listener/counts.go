package listener

import (
	"net/http"

	"github.com/baton-go/baton/listener/internal/sniff"
)

func (c *conn) count(n *Counts) {
	if c.isHTTP2() {
		n.HTTP2++
		return
	}
	switch c.state.Load() - 1 {
	case int32(http.StateNew):
		switch {
		case c.adopted.idle.Load():
			n.Idle++
		case c.input.sinceIdle.Load():
			n.Active++
		default:
			n.New++
		}
	case int32(http.StateIdle):
		n.Idle++
	case int32(http.StateActive):
		n.Active++
	case int32(http.StateHijacked):
		n.Hijacked++
	default:
		switch {
		case !c.unmet():
			n.Other++
		case c.adopted.idle.Load():
			n.Idle++
		case c.hasSaid() == sniff.SaidNothing:
			n.New++
		default:
			n.Active++
		}
	}
}

// Counts says how many connections are open, by what they do, and what became of others.
type Counts struct {
	New      int `json:"new"`      // connected, has not sent a byte
	Idle     int `json:"idle"`     // between two requests
	Active   int `json:"active"`   // a request is being read or answered
	Hijacked int `json:"hijacked"` // taken over by a handler, not yet closed by it
	HTTP2    int `json:"http2"`    // HTTP/2, whatever it does
	Other    int `json:"other"`    // of servers that were not given to Track, or not with a server yet

	Adopted int64 `json:"adopted"`        // taken over from another process, in all
	Moved   int64 `json:"moved"`          // handed over to another process, in all
	Aged    int64 `json:"aged,omitempty"` // told to end for their age, in all

	Requests int64 `json:"requests,omitempty"` // given to handlers of tracked servers, in all; but those of Dial
	Aside    int64 `json:"aside,omitempty"`    // of these: see [Aside]

	// Entries in the loss ledger, in all, by their kind.
	Lost   int64 `json:"lost"`              // requests, perhaps: unread, or cut off
	CutOff int64 `json:"cut_off,omitempty"` // the latter of these; and connections that are hijacked, or "other"
	Part   int64 `json:"part,omitempty"`    // beginnings of requests
	Junk   int64 `json:"junk,omitempty"`
}

// Open is the number of open connections.
func (c Counts) Open() int { return c.New + c.Idle + c.Active + c.Hijacked + c.HTTP2 + c.Other }

// Finished is how many requests of tracked servers have been answered since Leave was called.
func (s *Set) Finished() int64 { return s.finished.Load() }

// Counts returns the present counts.
func (s *Set) Counts() Counts {
	n := Counts{Adopted: s.adopted.Load(), Moved: s.moved.Load(), Aged: s.aged.Load(), Lost: s.lost.Load(),
		CutOff: s.cutOff.Load(), Part: s.partial.Load(), Junk: s.junk.Load(),
		Aside: s.aside.Load(), Requests: s.requests.Load()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.count(&n)
	}
	return n
}
