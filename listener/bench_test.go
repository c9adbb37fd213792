//go:build unix

package listener

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// untracked is an age for no tracking.
const untracked time.Duration = -1

// exchange is one kind of request, over and over on one connection.
type exchange struct {
	name, network string
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
	return []exchange{
		{"get", "tcp", get, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }},
		{"post1k", "tcp", post(string(page[:1024])), func(w http.ResponseWriter, r *http.Request) {
			body := make([]byte, 1024)
			_, _ = io.ReadFull(r.Body, body)
			_, _ = w.Write(body)
		}},
		{"get64k", "tcp", get, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) }},
		{"file64k", "tcp", get, file},
		{"file64kunix", "unix", get, file},
	}
}

// wire is the cheapest client there is: it knows how long the response is, and allocates nothing.
type wire struct {
	t        testing.TB
	nc       net.Conn
	req, buf []byte
}

// serve tracks the server where age is 0 or more; 0 is none.
func (x exchange) serve(t testing.TB, age time.Duration) *wire {
	t.Helper()
	address := "127.0.0.1:0"
	if x.network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	srv := &http.Server{Handler: x.handler}
	var ln net.Listener
	var err error
	if age >= 0 {
		set := New(nil, nil)
		set.MaxAge(age)
		ln, err = set.Listen(x.network, address)
		set.Track(srv)
		set.Open()
	} else {
		ln, err = net.Listen(x.network, address)
	}
	check(t, err)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	nc := dialTo(t, ln.Addr())
	w := &wire{t, nc, []byte(x.request), make([]byte, 128<<10)}
	w.measure()
	for range 20 { // buffers of pools, goroutine stacks
		w.roundTrip()
	}
	return w
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
		for i, name := range []string{"bare", "tracked", "aged"} {
			b.Run(x.name+"/"+name, func(b *testing.B) {
				w := x.serve(b, []time.Duration{untracked, 0, time.Hour}[i])
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
