package forward

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Proxy returns a handler that carries each request to the process at the other end of dial's connection, which must
// call Serve: one connection a request. Where no answer has begun, failed is told what has gone wrong, and the client
// gets 502. Later the client's connection, or stream, is cut.
func Proxy(dial func(ctx context.Context, about About) (net.Conn, error), failed func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail := func(err error) {
			if r.Context().Err() == nil { // the client is there
				failed(err)
			}
			h := w.Header()
			maps.DeleteFunc(h, func(key string, _ []string) bool { return key != "Connection" })
			w.WriteHeader(http.StatusBadGateway)
		}
		nc, err := dial(r.Context(), aboutOf(r))
		if err != nil {
			fail(err)
			return
		}
		o := &near{peer: newPeer(nc), w: w, own: w.Header().Clone(), ctl: http.NewResponseController(w), r: r,
			closed: make(chan struct{})}
		o.heed = o.do
		if err := o.carry(); err != nil {
			fail(err)
		}
	})
}

// near is a request's end in the old process, which has the client.
type near struct {
	*peer
	w      http.ResponseWriter
	own    http.Header // what stands before the handler has set
	ctl    *http.ResponseController
	r      *http.Request
	began  atomic.Bool // the client may have seen a part of the answer
	conn   net.Conn    // hijacked
	closed chan struct{}
}

// carry returns an error if the client may still get another answer.
func (o *near) carry() error {
	go o.run()
	defer context.AfterFunc(o.r.Context(), func() { o.call(message{Op: "gone"}) })()
	end := o.call(message{Op: "serve", Request: requestOf(o.r)})
	if end.N == hijacked {
		select {
		case <-o.closed:
		case <-o.over:
		}
	}
	o.nc.Close()
	<-o.over
	if end.Fault == lost && o.began.Load() {
		_ = o.ctl.SetWriteDeadline(time.Unix(1, 0)) // no call waits for a slow client
	}
	o.calls.Wait() // net/http uses the ResponseWriter's buffers again
	switch {
	case o.conn != nil:
		o.conn.Close()
	case end.Fault == nil:
		o.setHeader(end)
	case end.Fault.Panic || o.began.Load():
		panic(http.ErrAbortHandler)
	default:
		return end.Fault
	}
	return nil
}

func (o *near) setHeader(m message) {
	h := o.w.Header()
	clear(h)
	maps.Copy(h, o.own) // "Connection: close", or the client would never leave the old process
	m.Header.to(h)
}

// begins has the calls after which the client may have a part of the answer.
var begins = map[string]bool{"head": true, "write": true, "copy": true, "flush": true, "hijack": true}

// do carries out one call of the new process. What it returns goes back; a panic too.
func (o *near) do(m message) (a message) {
	if begins[m.Op] && !informational(m.N) {
		o.began.Store(true)
		select {
		case <-o.over: // carry may have seen that nothing has begun
			return message{Fault: lost}
		default:
		}
	}
	if m.SetHeader {
		o.setHeader(m)
	}
	var err error
	switch m.Op {
	case "head":
		o.w.WriteHeader(int(m.N))
	case "write":
		a.N, err = count(o.w.Write(m.data))
	case "copy":
		a.N, err = io.Copy(o.w, source{o.peer})
	case "flush":
		err = o.ctl.Flush()
	case "duplex":
		err = o.ctl.EnableFullDuplex()
	case "read":
		if a.data, err = read(o.r.Body, m.N); errors.Is(err, io.EOF) {
			a.Header = headerOf(o.r.Trailer)
		}
	case "close":
		err = o.r.Body.Close()
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
type source struct{ *peer }

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
