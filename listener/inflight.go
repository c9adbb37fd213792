package listener

import (
	"net/http"
	"time"
)

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
