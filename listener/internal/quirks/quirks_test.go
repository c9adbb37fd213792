package quirks

import (
	"crypto/tls"
	"go/version"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"
)

// The facts were looked up in Go 1.25, 1.26 and 1.27. What changes in one of these has its version here.
var from127 = version.Compare(version.Lang(runtime.Version()), "go1.27") >= 0

// watched is a connection that keeps how much its reader offers, and which read deadlines it is set.
type watched struct {
	net.Conn
	offered   chan int
	deadlines chan time.Time
}

func (w watched) Read(p []byte) (int, error) {
	select {
	case w.offered <- len(p):
	default:
	}
	return w.Conn.Read(p)
}

func (w watched) SetReadDeadline(t time.Time) error {
	select {
	case w.deadlines <- t:
	default:
	}
	return w.Conn.SetReadDeadline(t)
}

// Go 1.25 to 1.27: the first read offers a whole buffer, and a handler's end ends the read behind its back.
func TestReadSize(t *testing.T) {
	near, far := net.Pipe()
	w := watched{far, make(chan int, 1), make(chan time.Time, 32)}
	ln := make(single, 1)
	ln <- w
	srv := &http.Server{Handler: http.NotFoundHandler()}
	done := make(chan struct{})
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			close(done)
		}
	}
	go func() { _ = srv.Serve(ln) }()
	go func() { _, _ = io.WriteString(near, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") }()
	_, _ = io.ReadAll(near)
	<-done
	close(ln)
	if got := <-w.offered; got != ReadSize {
		t.Errorf("%d bytes are offered, want %d", got, ReadSize)
	}
	close(w.deadlines)
	if !slices.ContainsFunc(slices.Collect(func(yield func(time.Time) bool) {
		for d := range w.deadlines {
			if !yield(d) {
				return
			}
		}
	}), LongAgo.Equal) {
		t.Errorf("no deadline is %v", LongAgo)
	}
}

// Up to Go 1.26 a server keeps a function for unencrypted HTTP/2; from 1.27 on it speaks HTTP/2 on any connection.
func TestHTTP2(t *testing.T) {
	srv := &http.Server{Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	ln := make(single)
	close(ln)
	_ = srv.Serve(ln) // configures it
	own, all := HTTP2()
	if own == 0 || own != Pointer(srv.TLSNextProto["h2"]) {
		t.Error("net/http's own HTTP/2 is not known")
	}
	if all != from127 {
		t.Errorf("HTTP/2 on any connection: %v with %s", all, runtime.Version())
	}
	if kept := srv.TLSNextProto[UnencryptedHTTP2] != nil; kept == from127 {
		t.Errorf("a function for unencrypted HTTP/2: %v with %s", kept, runtime.Version())
	}
	near, _ := net.Pipe()
	if Carried(Carry(near)) != near || Carried(tls.Client(near, nil)) != nil {
		t.Error("what is carried is not found, or what is not")
	}
}

// Go 1.25 to 1.27: the field is there, and the functions by which HTTP/2 ends its connections are known in it.
func TestOnShutdown(t *testing.T) {
	srv := &http.Server{Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	ln := make(single)
	close(ln)
	_ = srv.Serve(ln)
	called := 0
	srv.RegisterOnShutdown(func() { called++ })
	all := OnShutdown(srv)
	for _, f := range all {
		f()
	}
	if len(all) != 1 || called != 1 {
		t.Errorf("%d functions, %d calls, want one of each", len(all), called)
	}
}

// tableflip v1.2.3 removes the file of a socket that it knows as unix or unixgram.
func TestAliases(t *testing.T) {
	for network, want := range map[string][]string{
		"tcp": {"tcp"}, "udp": {"udp"}, "unix": {"unix", "unix, kept"}, "unixgram": {"unixgram", "unixgram, kept"},
	} {
		if got := Aliases(network); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", network, got, want)
		}
	}
}
