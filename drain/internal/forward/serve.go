package forward

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// hijacked is in the answer of a handler that has taken the connection.
const hijacked = 1

// Target returns the handler of a request, and what sets values of its context, such as http.ServerContextKey; those of
// the client's connection that it is given are its addresses. Http.LocalAddrContextKey is set already. A panic of the
// handler goes to the ErrorLog of that server, as net/http does.
type Target func(about *About, client net.Conn) (http.Handler, func(context.Context) context.Context)

// Link is the end of a Proxy's connection that serves its requests.
type Link struct{ *trunk }

// Accept begins to serve what a Proxy sends over nc, each request by a call of run, which returns at once. The contexts
// of the requests end with ctx. It calls failed if the Proxy is of another version. The connection ends after Leave, or
// with the other process.
func Accept(ctx context.Context, nc net.Conn, target Target, run func(func()), failed func(error)) *Link {
	l := &Link{}
	l.trunk = newTrunk(nc, func(first message) {
		if s, _ := l.add(first.Stream); s != nil {
			f := newFar(ctx, s, first.About)
			run(func() { f.serve(first, target) })
		}
	})
	go func() {
		if err := l.run(); err != nil {
			failed(err)
		}
	}()
	return l
}

// Leave tells the Proxy to send no more requests, and returns when the last one is over.
func (l *Link) Leave() {
	l.write((&message{Op: "leave"}).append(nil))
	<-l.over
}

// far is a request's end in the new process, which has the handler: the ResponseWriter.
type far struct {
	deadlines
	ctx      context.Context
	client   *conn
	hijacked atomic.Bool // the handler has client
	header   http.Header
	early    *early // nil: none, or it has gone
	sent     bool   // header has gone for good, or is in early
	body     *body
	src      io.Reader // of ReadFrom
	srcErr   error

	asks   sync.Once
	leaves context.Context // set by asks: ends when the old process says that it is time to leave
}

func newFar(ctx context.Context, s *stream, about *About) *far {
	f := &far{deadlines: deadlines{s}, header: http.Header{}}
	f.client = &conn{deadlines: f.deadlines, closed: make(chan struct{}), local: address(about.Network, about.Local),
		remote: address(about.Network, about.Remote)}
	f.ctx, s.ended = context.WithCancel(ctx)
	s.heed = func(m message) (a message) {
		switch m.Op {
		case "gone":
			s.ended()
		case "source":
			a.data, f.srcErr = read(f.src, m.N)
			a.Fault = faultOf(f.srcErr)
		default:
			a.Fault = faultOf(http.ErrNotSupported)
		}
		return a
	}
	return f
}

type farKey struct{} // of a request's context: the *far

// farOf returns nil where ctx is not, and does not come from, the context of a forwarded request.
func farOf(ctx context.Context) *far {
	f, _ := ctx.Value(farKey{}).(*far)
	return f
}

// Is tells whether ctx is, or comes from, the context of a forwarded request.
func Is(ctx context.Context) bool { return farOf(ctx) != nil }

// Hijacked tells whether the handler of a forwarded request, whose context ctx is, or comes from, has hijacked the
// connection.
func Hijacked(ctx context.Context) bool {
	f := farOf(ctx)
	return f != nil && f.hijacked.Load()
}

// Draining returns a context that ends with ctx. Where that is, or comes from, the context of a forwarded request, it
// also ends, with cause, when the handler is to leave because the old process leaves. An old process of an earlier
// version does not know this call, and never says so.
func Draining(ctx context.Context, cause error) context.Context {
	f := farOf(ctx)
	if f == nil {
		return ctx
	}
	f.asks.Do(func() {
		leaves, leave := context.WithCancel(context.Background())
		f.leaves = leaves
		go func() {
			if f.call(message{Op: "draining"}).Fault == nil {
				leave()
			}
		}()
	})
	ctx, leave := context.WithCancelCause(ctx)
	stays := context.AfterFunc(f.leaves, func() { leave(cause) })
	context.AfterFunc(ctx, func() { stays() })
	return ctx
}

// serve returns when the request is over: a hijacked connection is closed.
func (f *far) serve(first message, target Target) {
	end := f.handle(first, target)
	end.ID, end.Early = first.ID, f.early
	if end.Fault != nil {
		end.Early = nil // net/http throws away what it has not sent
	}
	if !f.hijacked.Load() {
		f.ended()
	}
	f.send(end)
	if f.hijacked.Load() {
		select {
		case <-f.client.closed:
		case <-f.over:
		}
	}
	f.end(gone("is over"))
}

func (f *far) handle(first message, target Target) (end message) {
	r, err := first.Request.build(first.About)
	if err != nil {
		return message{Fault: faultOf(err)}
	}
	defer func() {
		v := recover()
		if r.MultipartForm != nil {
			_ = r.MultipartForm.RemoveAll() // as net/http does
		}
		if v == nil {
			return
		}
		if f.hijacked.Load() {
			f.client.Close()
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
	h, base := target(first.About, f.client)
	f.ctx = context.WithValue(context.WithValue(base(f.ctx), farKey{}, f), http.LocalAddrContextKey, f.client.local)
	r = r.WithContext(f.ctx)
	if !first.Request.NoBody {
		f.body = &body{stream: f.stream, r: r}
		r.Body = f.body
	}
	if r.ProtoMajor == 2 {
		h.ServeHTTP(f, r)
	} else {
		h.ServeHTTP(http1{f}, r)
	}
	end = message{SetHeader: true, Header: f.header}
	if f.hijacked.Load() {
		end.N = hijacked
	}
	return end
}

// mostEarly is how much of an answer net/http keeps in any case, of each protocol, in bytes.
const mostEarly = 2 << 10

// keeps tells whether n more bytes of the answer may wait here: net/http would not send them yet, and say nothing.
func (f *far) keeps(n int) bool {
	switch {
	case f.hijacked.Load():
		return false
	case f.early == nil && f.sent:
		return false
	case f.early == nil:
		f.keepHeader(http.StatusOK)
	}
	n += len(f.early.Data)
	length, err := strconv.Atoi(cmp.Or(f.early.Header.Get("Content-Length"), strconv.Itoa(mostEarly)))
	return n <= mostEarly && err == nil && n <= length && f.early.Status != http.StatusNoContent &&
		f.early.Status != http.StatusNotModified
}

func (f *far) keepHeader(status int) {
	f.early, f.sent = &early{Status: int64(status), Header: f.header.Clone()}, true
}

// answer calls, and the header goes along until it may not change any more.
func (f *far) answer(m message, last bool) message {
	m.SetHeader = !f.sent
	if m.SetHeader {
		m.Header = f.header
	}
	m.Early, f.early = f.early, nil
	a := f.call(m)
	f.sent = f.sent || last && (a.Fault == nil || !a.Fault.Panic)
	return a
}

func (f *far) Header() http.Header { return f.header }

func (f *far) WriteHeader(status int) {
	if !f.sent && !f.hijacked.Load() && status >= 200 && status <= 999 {
		f.keepHeader(status)
		return
	}
	_ = f.answer(message{Op: "head", N: int64(status)}, !informational(int64(status))).err()
}

func (f *far) Write(b []byte) (int, error) {
	if f.keeps(len(b)) {
		f.early.Data = append(f.early.Data, b...)
		return len(b), nil
	}
	return inParts(b, func(part []byte) message { return f.answer(message{Op: "write", data: part}, true) })
}

func (f *far) WriteString(s string) (int, error) { return f.Write([]byte(s)) }

func (f *far) Flush()            { _ = f.FlushError() }
func (f *far) FlushError() error { return f.answer(message{Op: "flush"}, true).err() }

func (f *far) EnableFullDuplex() error { return f.call(message{Op: "duplex"}).err() }

// deadlines are those of the client's connection or stream, hijacked or not.
type deadlines struct{ *stream }

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

// sniffed is how much net/http reads, to write as ever, before it copies in another way.
const sniffed = 512

func (f http1) ReadFrom(src io.Reader) (int64, error) {
	if !f.sent || f.early != nil {
		b, err := io.ReadAll(io.LimitReader(src, sniffed))
		if len(b) == 0 {
			return 0, err
		}
		if err != nil || len(b) < sniffed {
			n, werr := f.Write(b)
			return int64(n), cmp.Or(werr, err)
		}
		src = &headed{b, src}
	}
	f.src, f.srcErr = src, nil
	a := f.answer(message{Op: "copy"}, false)
	f.sent = f.sent || a.N > 0
	err := a.err()
	if err != nil && f.srcErr != nil && !errors.Is(f.srcErr, io.EOF) {
		err = f.srcErr // the very one
	}
	return a.N, err
}

// headed reads head first, and what follows as if that had been read in one.
type headed struct {
	head []byte
	io.Reader
}

func (h *headed) Read(p []byte) (int, error) {
	n := copy(p, h.head)
	if h.head = h.head[n:]; n > 0 && n == len(p) {
		return n, nil
	}
	k, err := h.Reader.Read(p[n:])
	return n + k, err
}

func (f http1) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a := f.answer(message{Op: "hijack"}, false)
	if err := a.err(); err != nil {
		return nil, nil, err
	}
	if f.body != nil {
		a.data = append(f.body.rest(), a.data...)
	}
	f.hijacked.Store(true)
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(a.data), f.client), max(4096, len(a.data)))
	_, _ = r.Peek(len(a.data)) // buffered, as they are without forwarding
	return f.client, bufio.NewReadWriter(r, bufio.NewWriter(f.client)), nil
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
