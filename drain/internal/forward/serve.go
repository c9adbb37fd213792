package forward

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// hijacked is in the answer of a handler that has taken the connection.
const hijacked = 1

// Serve serves the one request that comes over nc by h, and returns when it is over: a hijacked connection is closed.
// It closes nc. base sets values of the request's context, such as http.ServerContextKey; Serve sets
// http.LocalAddrContextKey. A panic of h goes to the ErrorLog of that server, as net/http does.
func Serve(ctx context.Context, nc net.Conn, about About, h http.Handler, base func(context.Context) context.Context) {
	defer nc.Close()
	p := newPeer(nc)
	first, err := p.receive()
	if err != nil || first.Request == nil {
		return
	}
	ctx, cancel := context.WithCancel(base(ctx))
	defer cancel()
	f := &far{deadlines: deadlines{p}, header: http.Header{}, local: address(about.Network, about.Local),
		remote: address(about.Network, about.Remote)}
	f.ctx = context.WithValue(ctx, http.LocalAddrContextKey, f.local)
	p.heed = func(m message) (a message) {
		switch m.Op {
		case "gone":
			cancel()
		case "source":
			a.data, f.srcErr = read(f.src, m.N)
			a.Fault = faultOf(f.srcErr)
		default:
			a.Fault = faultOf(http.ErrNotSupported)
		}
		return a
	}
	go func() {
		p.run()
		cancel()
	}()
	end := f.handle(h, first.Request, about)
	cancel()
	end.ID = first.ID
	p.send(end)
	<-p.over // the old process ends it
}

// far is a request's end in the new process, which has the handler: the ResponseWriter.
type far struct {
	deadlines
	ctx           context.Context
	local, remote net.Addr
	header        http.Header
	sent          bool // header has gone for good
	conn          *conn
	src           io.Reader // of ReadFrom
	srcErr        error
}

func (f *far) handle(h http.Handler, q *request, about About) (end message) {
	r, err := q.build(about)
	if err != nil {
		return message{Fault: faultOf(err)}
	}
	r = r.WithContext(f.ctx)
	if !q.NoBody {
		r.Body = &body{f.peer, r}
	}
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if f.conn != nil {
			f.conn.Close()
		}
		end = message{Fault: &fault{Text: "the handler has panicked", Panic: true}}
		if v != any(http.ErrAbortHandler) {
			printf := log.Printf
			if s, ok := f.ctx.Value(http.ServerContextKey).(*http.Server); ok && s.ErrorLog != nil {
				printf = s.ErrorLog.Printf
			}
			printf("http: panic serving %v: %v\n%s", r.RemoteAddr, v, debug.Stack())
		}
	}()
	if r.ProtoMajor == 2 {
		h.ServeHTTP(f, r)
	} else {
		h.ServeHTTP(http1{f}, r)
	}
	end = message{SetHeader: true, Header: headerOf(f.header)}
	if f.conn != nil {
		end.N = hijacked
	}
	return end
}

// answer calls, and the header goes along until it may not change any more.
func (f *far) answer(m message, last bool) message {
	m.SetHeader = !f.sent
	if m.SetHeader {
		m.Header = headerOf(f.header)
	}
	a := f.call(m)
	f.sent = f.sent || last && (a.Fault == nil || !a.Fault.Panic)
	return a
}

func (f *far) Header() http.Header { return f.header }

func (f *far) WriteHeader(status int) {
	_ = f.answer(message{Op: "head", N: int64(status)}, !informational(int64(status))).err()
}

func (f *far) Write(b []byte) (int, error) {
	return inParts(b, func(part []byte) message { return f.answer(message{Op: "write", data: part}, true) })
}

func (f *far) WriteString(s string) (int, error) { return f.Write([]byte(s)) }

func (f *far) Flush()            { _ = f.FlushError() }
func (f *far) FlushError() error { return f.answer(message{Op: "flush"}, true).err() }

func (f *far) EnableFullDuplex() error { return f.call(message{Op: "duplex"}).err() }

// deadlines are those of the client's connection or stream, hijacked or not.
type deadlines struct{ *peer }

func (d deadlines) SetReadDeadline(t time.Time) error {
	return d.call(message{Op: "read by", N: deadline(t)}).err()
}

func (d deadlines) SetWriteDeadline(t time.Time) error {
	return d.call(message{Op: "write by", N: deadline(t)}).err()
}

// CloseNotify is for frameworks that have not left it.
func (f *far) CloseNotify() <-chan bool {
	c := make(chan bool, 1)
	context.AfterFunc(f.ctx, func() { c <- true })
	return c
}

// http1 is the ResponseWriter of HTTP/1: programs ask for its methods.
type http1 struct{ *far }

func (f http1) ReadFrom(src io.Reader) (int64, error) {
	f.src, f.srcErr = src, nil
	a := f.answer(message{Op: "copy"}, false)
	f.sent = f.sent || a.N > 0
	err := a.err()
	if err != nil && f.srcErr != nil && !errors.Is(f.srcErr, io.EOF) {
		err = f.srcErr // the very one
	}
	return a.N, err
}

func (f http1) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a := f.call(message{Op: "hijack"})
	if err := a.err(); err != nil {
		return nil, nil, err
	}
	f.conn = &conn{deadlines: f.deadlines, local: f.local, remote: f.remote}
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(a.data), f.conn), max(4096, len(a.data)))
	_, _ = r.Peek(len(a.data)) // buffered, as they are without forwarding
	return f.conn, bufio.NewReadWriter(r, bufio.NewWriter(f.conn)), nil
}

// body is the request's.
type body struct {
	*peer
	r *http.Request
}

func (b *body) Read(p []byte) (int, error) {
	a := b.call(message{Op: "read", N: int64(len(p))})
	if a.Header != nil {
		if b.r.Trailer == nil {
			b.r.Trailer = http.Header{}
		}
		a.Header.to(b.r.Trailer)
	}
	return copy(p, a.data), a.err()
}

func (b *body) Close() error { return b.call(message{Op: "close"}).err() }

// conn is the client's connection after a Hijack.
type conn struct {
	deadlines
	local, remote net.Addr
	once          sync.Once
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Read(b []byte) (int, error) {
	a := c.call(message{Op: "conn.read", N: int64(len(b))})
	return copy(b, a.data), a.err()
}

func (c *conn) Write(b []byte) (int, error) {
	return inParts(b, func(part []byte) message { return c.call(message{Op: "conn.write", data: part}) })
}

func (c *conn) Close() (err error) {
	err = net.ErrClosed
	c.once.Do(func() {
		c.call(message{Op: "conn.close"})
		err = nil
	})
	return err
}

func (c *conn) CloseWrite() error { return c.call(message{Op: "conn.close write"}).err() }

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// inParts writes b, of which no part is longer than a message's.
func inParts(b []byte, write func([]byte) message) (n int, err error) {
	for {
		a := write(b[n:min(n+most, len(b))])
		n += int(a.N)
		if err = a.err(); err != nil || n >= len(b) {
			return n, err
		}
	}
}
