// Package quirks is what is known of net/http and tableflip without their promise. Each fact has a
// test that names the versions it holds for; the table in ARCHITECTURE.md says what relies on it.
package quirks

import (
	"bufio"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// ReadSize is how many bytes net/http offers to Read when its buffer is empty. It reads through a
// bufio.Reader of the default size, which offers what is free in its buffer. If a later net/http
// buffers otherwise, its connections never seem to rest: they are closed with a grace instead of
// moved, and a test fails.
var ReadSize = bufio.NewReader(nil).Size()

// LongAgo is the deadline by which net/http, and this package, end a read.
var LongAgo = time.Unix(1, 0)

// UnencryptedHTTP2 is a key of http.Server.TLSNextProto. Net/http up to Go 1.26, and
// golang.org/x/net/http2 where it has configured the server, keep a function there that serves HTTP/2
// on any connection whose preface has been read. They hide the connection in a *tls.Conn, whose
// NetConn has the method of carrier.
const UnencryptedHTTP2 = "unencrypted_http2"

type carrier struct {
	net.Conn // nil: none of its methods is called
	nc       net.Conn
}

func (c carrier) UnencryptedNetConn() net.Conn { return c.nc }

// Carry hides nc, as they do.
func Carry(nc net.Conn) *tls.Conn { return tls.Client(carrier{nc: nc}, nil) }

// Carried returns the connection that tc hides, or nil.
func Carried(tc *tls.Conn) net.Conn {
	if u, ok := tc.NetConn().(interface{ UnencryptedNetConn() net.Conn }); ok {
		return u.UnencryptedNetConn()
	}
	return nil
}

// HTTP2 finds out what this version of net/http does about HTTP/2, by a server that is given
// connections within the process. Function is what it keeps in TLSNextProto: by that, its own HTTP/2
// is known from that of others. Any tells whether it speaks HTTP/2, encrypted or not, on any type of
// connection that its listener returns.
var HTTP2 = sync.OnceValues(func() (function uintptr, any bool) {
	any = true
	for _, encrypted := range []bool{true, false} {
		near, far := net.Pipe()
		ln := make(single, 1)
		if encrypted {
			far = negotiated{far}
		}
		ln <- far
		var ended sync.WaitGroup
		ended.Add(1)
		srv := &http.Server{
			Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols),
			ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					ended.Done()
				}
			},
		}
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetHTTP2(true)
		srv.Protocols.SetUnencryptedHTTP2(true)
		ended.Go(func() { _ = srv.Serve(ln) })
		first := greetHTTP2(near)
		settings := len(first) > h2frame.HeaderLen && first[3] == h2frame.TypeSettings
		any = any && settings && first[0] == 0 // "HTTP/1.1 404" is none
		_ = near.Close()
		close(ln)
		_ = srv.Close()
		ended.Wait()
		function = Pointer(srv.TLSNextProto["h2"])
	}
	return function, any
})

// Pointer is the place of a function of TLSNextProto, by which HTTP2 knows it.
func Pointer(f func(*http.Server, *tls.Conn, http.Handler)) uintptr {
	return reflect.ValueOf(f).Pointer()
}

// OnShutdown returns what srv.RegisterOnShutdown was given. Net/http calls that in Shutdown only,
// which drops requests that it has read; so there is no way but to look. A net/http that keeps the
// functions elsewhere has none for us; a test tells. The functions by which HTTP/2 ends its
// connections are left out: they throw requests away, see h2drain.
func OnShutdown(srv *http.Server) []func() {
	field, lock := reflect.ValueOf(srv).Elem().FieldByName("onShutdown"), reflect.ValueOf(srv).Elem().FieldByName("mu")
	if !field.IsValid() || field.Type() != reflect.TypeFor[[]func()]() ||
		!lock.IsValid() || lock.Type() != reflect.TypeFor[sync.Mutex]() {
		return nil
	}
	mu := (*sync.Mutex)(unsafe.Pointer(lock.UnsafeAddr()))
	mu.Lock() // others may register more
	registered := slices.Clone(*(*[]func())(unsafe.Pointer(field.UnsafeAddr())))
	mu.Unlock()
	var all []func()
	for _, f := range registered {
		if !endsHTTP2(runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()) {
			all = append(all, f)
		}
	}
	return all
}

// endsHTTP2 knows the function by its name: net/http's up to Go 1.26, net/http/internal/http2's
// since, and the one of golang.org/x/net/http2, also in a vendor folder.
func endsHTTP2(name string) bool {
	for _, method := range []string{
		"net/http.(*http2serverInternalState).startGracefulShutdown-fm",
		"net/http/internal/http2.(*Server).GracefulShutdown-fm",
		"golang.org/x/net/http2.(*serverInternalState).startGracefulShutdown-fm",
	} {
		if strings.HasSuffix(name, method) {
			return true
		}
	}
	return false
}
