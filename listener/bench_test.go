//go:build unix

package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// Ways to serve an exchange: without this package, with it, with an age, and where another generation has begun.
type way int

const (
	asBare way = iota
	asTracked
	asAged
	asMoved
)

func (w way) String() string { return [...]string{"bare", "tracked", "aged", "moved"}[w] }

// exchange is one kind of request, over and over on one connection.
type exchange struct {
	name, network string
	tls           uint16 // its version; 0: plain text
	request       string
	handler       http.HandlerFunc
}

func exchanges(t testing.TB) []exchange {
	page := bytes.Repeat([]byte("x"), 64<<10)
	path := filepath.Join(t.TempDir(), "page")
	check(t, os.WriteFile(path, page, 0o600))
	get := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	file := func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(path)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		http.ServeContent(w, r, "page.bin", time.Time{}, f)
	}
	hello := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }
	kilobyte := func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 1024)
		_, _ = io.ReadFull(r.Body, body)
		_, _ = w.Write(body)
	}
	whole := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) }
	all := []exchange{
		{"get", "tcp", 0, get, hello},
		{"post1k", "tcp", 0, post(string(page[:1024])), kilobyte},
		{"get64k", "tcp", 0, get, whole},
		{"file64k", "tcp", 0, get, file},
		{"file64kunix", "unix", 0, get, file},
		{"get13", "tcp", tls.VersionTLS13, get, hello},
		{"post1k13", "tcp", tls.VersionTLS13, post(string(page[:1024])), kilobyte},
		{"get64k13", "tcp", tls.VersionTLS13, get, whole},
		{"get12", "tcp", tls.VersionTLS12, get, hello},
	}
	for i, x := range all {
		all[i].handler = deeper(x.handler)
	}
	return all
}

// deeper calls f on a stack that is a little deeper each time. AES-GCM keeps blocks there, and takes 1.4 times as long
// where they lie across two lines of the cache: that depends on the frames of all callers, such as a middleware.
func deeper(f http.HandlerFunc) http.HandlerFunc {
	var n atomic.Uint32
	return func(w http.ResponseWriter, r *http.Request) { deeperBy(n.Add(1)%8, f, w, r) }
}

//go:noinline
func deeperBy(n uint32, f http.HandlerFunc, w http.ResponseWriter, r *http.Request) {
	if n == 0 {
		f(w, r)
		return
	}
	deeperBy(n-1, f, w, r)
}

// wire is the cheapest client there is: it knows how long the response is, and allocates nothing.
type wire struct {
	t        testing.TB
	nc       net.Conn
	req, buf []byte
}

// serve serves x in a way, and returns its client.
func (x exchange) serve(t testing.TB, how way) *wire {
	t.Helper()
	address := "127.0.0.1:0"
	if x.network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	var config *tls.Config
	if x.tls != 0 {
		config = certified("http/1.1")
	}
	srv := &http.Server{Handler: x.handler}
	var one *generation
	var ln net.Listener
	var err error
	if how == asBare {
		ln, err = net.Listen(x.network, address)
		check(t, err)
		served := ln
		if config != nil {
			served = tls.NewListener(ln, config)
		}
		go func() { _ = srv.Serve(served) }()
	} else {
		one = &generation{set: New(Config{}), n: 1}
		if how == asAged {
			one.set.cfg.MaxAge = time.Hour
		}
		one.ln = mustListen(t, one.set, x.network, address)
		ln = one.ln
		one.serveExchange(t, srv, config)
	}
	t.Cleanup(func() { _ = srv.Close() })
	nc := dialTo(t, ln.Addr())
	if config != nil {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, MaxVersion: x.tls})
	}
	w := &wire{t, nc, []byte(x.request), make([]byte, 128<<10)}
	w.measure()
	if how == asMoved {
		two := listening(t, one)
		two.serveExchange(t, &http.Server{Handler: x.handler}, config)
		check(t, one.set.Leave(context.Background(), one.handTo(two), time.Minute))
	}
	for range 20 { // buffers of pools, goroutine stacks
		w.roundTrip()
	}
	return w
}

func (g *generation) serveExchange(t testing.TB, srv *http.Server, config *tls.Config) {
	g.set.Track(srv)
	ln := g.ln
	if config != nil {
		ln = g.set.TLSListener(srv, ln, config)
	}
	g.serve(t, func() error { return g.set.Serve(srv, ln) })
	t.Cleanup(func() { _ = srv.Close() })
}

// measure learns the length of the response.
func (w *wire) measure() {
	w.t.Helper()
	if _, err := w.nc.Write(w.req); err != nil {
		w.t.Fatal(err)
	}
	n, want := 0, math.MaxInt
	for n < want {
		m, err := w.nc.Read(w.buf[n:])
		if n += m; err != nil {
			w.t.Fatal(err)
		}
		if head := bytes.Index(w.buf[:n], []byte("\r\n\r\n")); head >= 0 && want == math.MaxInt {
			length := 0
			_, after, _ := bytes.Cut(w.buf[:head], []byte("Content-Length: "))
			if _, err := fmt.Sscanf(string(after), "%d", &length); err != nil {
				length = 64<<10 + len("10000\r\n\r\n0\r\n\r\n") // one chunk
			}
			want = head + 4 + length
		}
	}
	w.buf = w.buf[:n]
}

func (w *wire) roundTrip() {
	if _, err := w.nc.Write(w.req); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.ReadFull(w.nc, w.buf); err != nil {
		w.t.Fatal(err)
	}
}

func BenchmarkKeepAlive(b *testing.B) {
	for _, x := range exchanges(b) {
		for how := range asMoved + 1 {
			if how == asMoved && x.network != "tcp" {
				continue
			}
			b.Run(fmt.Sprint(x.name, "/", how), func(b *testing.B) {
				w := x.serve(b, how)
				b.ReportAllocs()
				b.SetBytes(int64(len(w.buf)))
				for b.Loop() {
					w.roundTrip()
				}
			})
		}
	}
}

// recorder is a connection which knows what was given to its ReadFrom.
type recorder struct {
	*net.TCPConn
	from chan io.Reader
}

func (r recorder) ReadFrom(src io.Reader) (int64, error) {
	r.from <- src
	return r.TCPConn.ReadFrom(src)
}

// The kernel copies a file to a socket only where the socket's own ReadFrom sees the file.
func TestSendfileReachesTheSocket(t *testing.T) {
	for _, x := range exchanges(t) {
		if x.name != "file64k" {
			continue
		}
		one := next(t, nil, &http.Server{Handler: x.handler})
		raw := mustOpen(t, "tcp", "127.0.0.1:0")
		nc := dialTo(t, raw.Addr())
		far, err := raw.Accept()
		check(t, err)
		rec := recorder{far.(*net.TCPConn), make(chan io.Reader, 10)}
		so := one.ln.(*socket)
		if !so.enqueue(&conn{Conn: rec, set: one.set, sock: so}) {
			t.Fatal("listener is closed")
		}
		w := &wire{t, nc, []byte(x.request), make([]byte, 128<<10)}
		w.measure()
		select {
		case src := <-rec.from:
			lr, ok := src.(*io.LimitedReader)
			if !ok {
				t.Fatalf("ReadFrom got a %T", src)
			}
			if _, ok := lr.R.(*os.File); !ok {
				t.Errorf("ReadFrom got a %T of a %T", src, lr.R)
			}
		default:
			t.Error("the socket's ReadFrom was not called")
		}
	}
}
