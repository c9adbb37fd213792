package forward

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy carries each request to the process at the other end of dial's connection, which must call Accept. It dials
// when it needs to: at first, and when that process takes no more requests, or is gone.
type Proxy struct {
	Dial     func() (net.Conn, error)
	Listener func(context.Context) string // names a listener of the server that has read the request with that context
	// Where no answer has begun, Failed is told what has gone wrong, and the client gets 502. Later the client's
	// connection, or stream, is cut.
	Failed func(error)
	// Draining returns a context that ends with that of a request, or when the handler is to leave because this
	// process leaves.
	Draining func(context.Context) context.Context

	mu   sync.Mutex // guards what follows
	peer *peer
}

// peer is one dial, which may take seconds, and its result. All requests that wait for it share it.
type peer struct {
	dialed chan struct{} // closed when the others are set
	trunk  *trunk
	err    error
}

func (p *Proxy) open() (*stream, error) {
	lost := gone("takes no more requests")
	for range 3 { // what takes no more requests just now may have been dialed by another request
		p.mu.Lock()
		at := p.peer
		if at == nil {
			at = &peer{dialed: make(chan struct{})}
			p.peer = at
			go p.dial(at)
		}
		p.mu.Unlock()
		<-at.dialed
		if at.err != nil {
			return nil, at.err
		}
		s, why := at.trunk.add(0)
		if s != nil {
			return s, nil
		}
		lost = cmp.Or(why, lost)
		p.forget(at)
	}
	return nil, lost
}

func (p *Proxy) dial(at *peer) {
	nc, err := p.Dial()
	if at.err = err; err != nil {
		p.forget(at)
	} else {
		at.trunk = newTrunk(nc, nil)
		go func() { _ = at.trunk.run() }() // requests say what has gone wrong
	}
	close(at.dialed)
}

func (p *Proxy) forget(at *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.peer == at {
		p.peer = nil
	}
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s, err := p.open()
	if err == nil {
		o := &near{stream: s, draining: p.Draining, w: w, own: w.Header().Clone(),
			ctl: http.NewResponseController(w), r: r, closed: make(chan struct{})}
		o.heed = o.do
		err = o.carry(aboutOf(r, p.Listener(r.Context())))
	}
	if err == nil {
		return
	}
	if r.Context().Err() == nil { // the client is there
		p.Failed(err)
	}
	maps.DeleteFunc(w.Header(), func(key string, _ []string) bool { return key != "Connection" })
	w.WriteHeader(http.StatusBadGateway)
}

// near is a request's end in the old process, which has the client.
type near struct {
	*stream
	draining func(context.Context) context.Context
	w        http.ResponseWriter
	own      http.Header // what stands before the handler has set
	ctl      *http.ResponseController
	r        *http.Request
	began    atomic.Bool // the client may have seen a part of the answer
	conn     net.Conn    // hijacked
	closed   chan struct{}
}

// carry returns an error if the client may still get another answer.
func (o *near) carry(about *About) error {
	answer := o.ask(message{Op: "serve", About: about, Request: requestOf(o.r)})
	defer context.AfterFunc(o.r.Context(), func() { o.send(message{Op: "gone"}) })() // perhaps at once
	end := <-answer
	if end.N == hijacked {
		select {
		case <-o.closed:
		case <-o.over:
		}
	}
	o.end(gone("is over"))
	lost := end.Fault != nil && end.Fault.lost
	if lost && o.began.Load() {
		_ = o.ctl.SetWriteDeadline(time.Unix(1, 0)) // no call waits for a slow client
	}
	o.calls.Wait() // net/http uses the ResponseWriter's buffers again
	switch {
	case o.conn != nil:
		o.conn.Close()
	case end.Fault == nil:
		o.begin(end)
	case end.Fault.Panic || o.began.Load():
		panic(http.ErrAbortHandler)
	default:
		return end.Fault
	}
	return nil
}

// begin does what comes with a call.
func (o *near) begin(m message) {
	if e := m.Early; e != nil {
		o.setHeader(e.Header)
		o.w.WriteHeader(int(e.Status))
		if len(e.Data) > 0 {
			_, _ = o.w.Write(e.Data) // which would fail later, if at all
		}
	}
	if m.SetHeader {
		o.setHeader(m.Header)
	}
}

func (o *near) setHeader(header http.Header) {
	h := o.w.Header()
	clear(h)
	maps.Copy(h, o.own) // "Connection: close", or the client would never leave the old process
	maps.Copy(h, header)
	if o.r.ProtoMajor == 2 && o.own["Connection"] == nil {
		delete(h, "Connection") // net/http would send a GOAWAY that loses requests; the listener ends the connection
	}
}

// begins has the calls after which the client may have a part of the answer.
var begins = map[string]bool{"head": true, "write": true, "copy": true, "flush": true, "hijack": true}

// do carries out one call of the new process. What it returns goes back; a panic too.
func (o *near) do(m message) (a message) {
	if begins[m.Op] && !informational(m.N) {
		o.began.Store(true)
		select {
		case <-o.over: // carry may have seen that nothing has begun
			return message{Fault: gone("is over")}
		default:
		}
	}
	o.begin(m)
	var err error
	if o.conn == nil && strings.HasPrefix(m.Op, "conn.") {
		return message{Fault: faultOf(http.ErrNotSupported)}
	}
	switch m.Op {
	case "head":
		o.w.WriteHeader(int(m.N))
	case "write":
		a.N, err = count(o.w.Write(m.data))
	case "copy":
		a.N, err = io.Copy(o.w, source{o.stream})
	case "flush":
		err = o.ctl.Flush()
	case "duplex":
		err = o.ctl.EnableFullDuplex()
	case "read":
		if a.data, err = read(o.r.Body, m.N); errors.Is(err, io.EOF) {
			a.Header = o.r.Trailer
		}
	case "close":
		err = o.r.Body.Close()
	case "draining":
		select {
		case <-o.draining(o.r.Context()).Done():
		case <-o.over:
		}
		err = o.r.Context().Err() // where the client has left, the handler is not told to leave
	case "read by":
		err = o.ctl.SetReadDeadline(instant(m.N))
	case "write by":
		err = o.ctl.SetWriteDeadline(instant(m.N))
	case "hijack":
		var rw *bufio.ReadWriter
		if o.conn, rw, err = o.ctl.Hijack(); err == nil {
			a.data, _ = rw.Reader.Peek(rw.Reader.Buffered())
		}
	case "conn.read":
		a.data, err = read(o.conn, m.N)
	case "conn.write":
		a.N, err = count(o.conn.Write(m.data))
	case "conn.close write":
		err = http.ErrNotSupported
		if c, ok := o.conn.(interface{ CloseWrite() error }); ok {
			err = c.CloseWrite()
		}
	case "conn.close":
		err = o.conn.Close()
		close(o.closed) // the new process says it once
	default:
		err = http.ErrNotSupported
	}
	a.Fault = faultOf(err)
	return a
}

func informational(status int64) bool {
	return status >= 100 && status < 200 && status != http.StatusSwitchingProtocols
}

func count(n int, err error) (int64, error) { return int64(n), err }

func read(from io.Reader, n int64) ([]byte, error) {
	b := make([]byte, min(n, 64<<10))
	k, err := from.Read(b)
	return b[:k], err
}

// source reads what the new process copies to the ResponseWriter.
type source struct{ *stream }

func (s source) Read(b []byte) (int, error) {
	a := s.call(message{Op: "source", N: int64(len(b))})
	return copy(b, a.data), a.err()
}

// deadline tells when t is from now on, in ns; 0: never.
func deadline(t time.Time) int64 {
	d := int64(time.Until(t))
	switch {
	case t.IsZero():
		return 0
	case d == 0:
		return -1
	default:
		return d
	}
}

// instant is what deadline tells.
func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(ns))
}
