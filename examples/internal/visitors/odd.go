package visitors

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/baton-go/baton/drain/draintest"
)

// The clients here do what most never do and some do all the time; a swap often meets them in the middle of it.

const (
	pipelined = 4
	bigSize   = 10 << 20
	bigTime   = 1500 * time.Millisecond // for the slow half of a big request
	bigChunk  = 64 << 10
)

// appendPost appends the head of a POST and its body.
func appendPost(b []byte, body []byte) []byte { return append(appendHead(b, len(body)), body...) }

func appendHead(b []byte, length int) []byte {
	return fmt.Appendf(b, "POST /echo HTTP/1.1\r\nHost: tour\r\nContent-Length: %d\r\n\r\n", length)
}

func receive(c *draintest.Client, body []byte) (draintest.Answer, error) {
	a, err := c.Receive(nil)
	if err == nil {
		err = a.Want(body)
	}
	return a, err
}

// pipelining sends several requests at once and reads the answers after.
func pipelining(u *user, c *draintest.Client, n int) (a draintest.Answer, err error) {
	var bodies [pipelined][]byte
	var requests []byte
	for k := range bodies {
		bodies[k] = unique(nil, u.number, n*pipelined+k)
		requests = appendPost(requests, bodies[k])
	}
	begun := time.Now()
	err = c.Send(requests)
	for k := range bodies {
		// When one is lost, those behind it are too: there is no connection for their answers.
		a = draintest.Answer{}
		if err == nil {
			a, err = receive(c, bodies[k])
		}
		if k == pipelined-1 {
			break // that one is the load's to count
		}
		u.count(draintest.Result{Begun: begun, Took: time.Since(begun), Answer: a, Err: err})
		if err == nil && a.Close {
			err = fail("eof", "closed with %d pipelined requests unanswered", pipelined-1-k)
		}
	}
	return a, err
}

// inHalves sends a request in two halves, cut now in its head and now in its body.
func inHalves(u *user, c *draintest.Client, n int) (a draintest.Answer, err error) {
	body := unique(nil, u.number, n)
	request := appendPost(nil, body)
	cut := len(request) - len(body)/2
	if n%2 == 0 {
		cut = rand.N(len(request)-len(body)-2) + 1
	}
	if err = c.Send(request[:cut]); err != nil {
		return a, err
	}
	u.load.pause(rand.N(1500 * time.Millisecond)) // even when the load ends, a request begun is sent in full
	if err = c.Send(request[cut:]); err != nil {
		return a, err
	}
	return receive(c, body)
}

// big has 10 MB echoed, slow on the way up or on the way down.
func big(slowUp bool) asking {
	return func(u *user, c *draintest.Client, n int) (draintest.Answer, error) { return u.big(c, n, slowUp) }
}

func (u *user) big(c *draintest.Client, n int, slowUp bool) (a draintest.Answer, err error) {
	if u.body == nil {
		u.body = bytes.Repeat([]byte("all that is sent comes back, "), bigSize/29+1)[:bigSize]
	}
	copy(u.body, fmt.Sprintf("big %d %d %v %x ", u.number, n, slowUp, rand.Uint64()))
	if err = c.Send(appendHead(nil, bigSize)); err != nil {
		return a, err
	}
	up, down := pace{u: u, begun: time.Now(), slow: slowUp}, pace{u: u, slow: !slowUp}
	for chunk := range slices.Chunk(u.body, bigChunk) {
		up.wait(len(chunk))
		if err = c.Send(chunk); err != nil {
			return a, err
		}
	}
	a, err = c.Receive(&down)
	switch {
	case a.Status != 0 && a.Status != 200:
		err = fail("status", "status %d to 10 MB", a.Status)
	case err == nil && down.at < bigSize:
		err = fail("mismatch", "the echo ends after %d of 10 MB", down.at)
	}
	return a, err
}

// pace is one direction of a big request.
type pace struct {
	u     *user
	begun time.Time
	at    int
	slow  bool
}

func (p *pace) wait(n int) {
	if p.slow {
		p.u.load.pause(time.Until(p.begun.Add(bigTime * time.Duration(p.at) / bigSize)))
	}
	p.at += n
}

// Write compares what comes back.
func (p *pace) Write(b []byte) (int, error) {
	if p.begun.IsZero() {
		p.begun = time.Now()
	}
	from := p.at
	p.wait(len(b))
	if p.at > bigSize || !bytes.Equal(b, p.u.body[from:p.at]) {
		return 0, fail("mismatch", "another byte after %d of 10 MB", from)
	}
	return len(b), nil
}
