//go:build unix

package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// The clients here do what most never do and some do all the time; a swap often meets them in the middle of it.

const (
	pipelined = 4
	bigSize   = 10 << 20
	bigTime   = 1500 * time.Millisecond // for the slow half of a big request
	bigChunk  = 64 << 10
)

// pipelining sends several requests at once and reads the answers after.
func (l *load) pipelining(i int) {
	u := l.user(odd, l.stats.recorder())
	defer u.close()
	for n := 0; l.ctx.Err() == nil; n += pipelined {
		if !l.pause(rand.N(20*time.Millisecond)) || !u.ready(0) {
			continue
		}
		var bodies [pipelined][]byte
		var requests []byte
		for k := range bodies {
			bodies[k] = unique(nil, i, n+k)
			requests = appendPost(requests, bodies[k])
		}
		begun := l.stats.now()
		u.conn.SetDeadline(time.Now().Add(u.timeout))
		err := u.send(requests)
		for k := range bodies {
			// When one is lost, those behind it are too: there is no connection for their answers.
			var a answer
			if err == nil {
				if a, err = u.receive(); err == nil {
					err = a.expect(bodies[k])
				}
			}
			if err == nil && a.close && k < pipelined-1 {
				u.count(begun, a, nil)
				err = fail(eof, "closed with %d pipelined requests unanswered", pipelined-1-k)
				continue
			}
			u.count(begun, a, err)
		}
	}
}

// inHalves sends a request in two halves, cut now in its head and now in its body.
func (l *load) inHalves(i int) {
	u := l.user(odd, l.stats.recorder())
	defer u.close()
	for n := 0; l.ctx.Err() == nil; n++ {
		if !l.pause(rand.N(20*time.Millisecond)) || !u.ready(0) {
			continue
		}
		body := unique(nil, i, n)
		request := appendPost(nil, body)
		cut := len(request) - len(body)/2
		if n%2 == 0 {
			cut = rand.N(len(request)-len(body)-2) + 1
		}
		begun := l.stats.now()
		u.conn.SetDeadline(time.Now().Add(u.timeout))
		err := u.send(request[:cut])
		if err == nil {
			l.pause(rand.N(1500 * time.Millisecond)) // even when the load ends, a request begun is sent in full
			err = u.send(request[cut:])
		}
		var a answer
		if err == nil {
			if a, err = u.receive(); err == nil {
				err = a.expect(body)
			}
		}
		u.count(begun, a, err)
	}
}

// big has 10 MB echoed, slow on the way up or on the way down.
func (l *load) big(i int, slowUp bool) {
	u := l.user(odd, l.stats.recorder())
	defer u.close()
	body := bytes.Repeat([]byte("all that is sent comes back, "), bigSize/29+1)[:bigSize]
	for n := 0; l.ctx.Err() == nil; n++ {
		if !u.ready(0) {
			continue
		}
		copy(body, fmt.Sprintf("big %d %d %v %x ", i, n, slowUp, rand.Uint64()))
		begun := l.stats.now()
		a, err := u.echoBig(body, slowUp)
		u.count(begun, a, err)
	}
}

func (u *user) echoBig(body []byte, slowUp bool) (a answer, err error) {
	u.conn.SetDeadline(time.Now().Add(u.timeout))
	head := appendPost(nil, body)
	head = head[:len(head)-len(body)]
	if err := u.send(head); err != nil {
		return a, err
	}
	pace := func(slow bool, f func(from, to int) error) error {
		begun := time.Now()
		for at := 0; at < len(body); at += bigChunk {
			if slow {
				u.load.pause(time.Until(begun.Add(bigTime * time.Duration(at) / time.Duration(len(body)))))
			}
			if err := f(at, min(at+bigChunk, len(body))); err != nil {
				return err
			}
		}
		return nil
	}
	if err := pace(slowUp, func(from, to int) error { return u.send(body[from:to]) }); err != nil {
		return a, err
	}
	if _, err := u.br.Peek(1); err != nil {
		return a, classify(err, false)
	}
	// net/http's parser reads from our connection and sends nothing; it knows chunked answers, which ours do without.
	resp, err := http.ReadResponse(u.br, nil)
	if err != nil {
		return a, classify(err, true)
	}
	a = answer{status: resp.StatusCode, close: resp.Close}
	a.pid, _ = strconv.Atoi(resp.Header.Get("X-Pid"))
	a.generation, _ = strconv.Atoi(resp.Header.Get("X-Generation"))
	if a.status != 200 {
		return a, fail(status, "status %d to 10 MB", a.status)
	}
	got := make([]byte, bigChunk)
	err = pace(!slowUp, func(from, to int) error {
		if _, err := io.ReadFull(resp.Body, got[:to-from]); err != nil {
			return classify(err, true)
		}
		if !bytes.Equal(got[:to-from], body[from:to]) {
			return fail(mismatch, "another byte after %d of 10 MB", from)
		}
		return nil
	})
	if err != nil {
		return a, err
	}
	if n, err := resp.Body.Read(got); n > 0 || err != io.EOF {
		return a, fail(mismatch, "the echo does not end after 10 MB")
	}
	return a, nil
}
