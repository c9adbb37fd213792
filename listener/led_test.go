//go:build unix

package listener

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/quirks"
)

// warnings collects what a set warns of.
func warnings(set *Set) (all func() []string) {
	var mu sync.Mutex
	var said []string
	set.cfg.OnWarning = func(err error) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, err.Error())
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return said
	}
}

// begin makes srv serve on a listener that has nobody to accept, so that all is decided that is before.
func begin(t *testing.T, set *Set, srv *http.Server, led bool) {
	t.Helper()
	ln := mustListen(t, set, "tcp", "127.0.0.1:0")
	begun, base := make(chan struct{}), srv.BaseContext // Track's
	srv.BaseContext = func(l net.Listener) context.Context {
		defer close(begun)
		return base(l)
	}
	serve := srv.Serve
	if led {
		serve = func(ln net.Listener) error { return set.Serve(srv, ln) }
	}
	go func() { _ = serve(ln) }()
	<-begun
	_ = srv.Close()
	set.Close()
}

// A server whose HTTP/2 can't be led is warned of when it begins, with the cure; all others are not.
func TestServersThatCantBeLedAreWarnedOf(t *testing.T) {
	other := map[string]func(*http.Server, *tls.Conn, http.Handler){
		"h2": func(*http.Server, *tls.Conn, http.Handler) {},
	}
	unencrypted := func(srv *http.Server) {
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetUnencryptedHTTP2(true)
	}
	configured, ln := new(http.Server), listening(t, nil).ln
	_ = ln.Close()
	_ = configured.Serve(ln)
	hookless := map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": configured.TLSNextProto["h2"]}
	_, fronts := quirks.HTTP2()
	for name, x := range map[string]struct {
		set    func(*http.Server)
		unled  bool // served by srv.Serve
		warned string
	}{
		"default":        {set: func(*http.Server) {}},
		"default, unled": {set: func(*http.Server) {}, unled: true}, // it may never speak HTTP/2
		"TLS":            {set: func(srv *http.Server) { srv.TLSConfig = &tls.Config{NextProtos: []string{"h2"}} }},
		"h2c":            {set: unencrypted},
		"TLSNextProto": {set: func(srv *http.Server) { srv.TLSNextProto = other },
			warned: "golang.org/x/net v0.31.0"},
		"none in the map": {set: func(srv *http.Server) {
			srv.TLSNextProto = map[string]func(*http.Server,
				*tls.Conn, http.Handler){}
		}},
		"h2c by srv.Serve": {set: unencrypted, unled: true, warned: map[bool]string{true: "Set.Serve"}[fronts]},
		// As with a net/http that leaves no way at all, which the next one may be.
		"no hook": {set: func(srv *http.Server) { srv.TLSNextProto = hookless },
			warned: map[bool]string{false: "version of net/http"}[fronts]},
		"TLSNextProto, own": {set: func(srv *http.Server) { srv.TLSNextProto = other }, unled: true,
			warned: "golang.org/x/net v0.31.0"},
	} {
		t.Run(name, func(t *testing.T) {
			set, srv := New(Config{}), &http.Server{}
			x.set(srv)
			said := warnings(set)
			set.Track(srv)
			begin(t, set, srv, !x.unled)
			switch all := said(); {
			case x.warned == "" && len(all) > 0:
				t.Errorf("%q", all)
			case x.warned != "" && (len(all) != 1 || !strings.Contains(all[0], x.warned)):
				t.Errorf("%q, want one with %q", all, x.warned)
			}
		})
	}
}

// Whatever was decided: the first HTTP/2 request on a connection that is not led is told of, once for a server.
func TestUnledHTTP2IsWarnedOfOnce(t *testing.T) {
	set, srv := New(Config{}), &http.Server{Handler: http.NotFoundHandler()}
	said := warnings(set)
	set.Track(srv)
	_ = srv.BaseContext(nil)
	for proto, want := range []int{0, 0, 1, 1, 1} {
		r := httptest.NewRequest("GET", "/", nil)
		r.ProtoMajor = min(proto, 2)
		c := &conn{set: set}
		srv.Handler.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), connKey{}, c)))
		if got := said(); len(got) != want || want > 0 && !strings.Contains(got[0], "Set.Serve") ||
			c.isHTTP2() != (proto >= 2) {
			t.Errorf("HTTP/%d: %q, HTTP/2 %v", r.ProtoMajor, got, c.isHTTP2())
		}
	}
}

// With a version of net/http that needs fronts, and with one that doesn't, a front changes nothing of a connection that
// speaks something else.
func TestFrontsOfOtherConnections(t *testing.T) {
	for _, said := range []string{"", "G", "PRI * HTTP/1.1\r\n", h2frame.Preface[:23], h2frame.Preface[:20] + "XXXX",
		strings.Repeat("x", 100)} {
		set := New(Config{})
		ln := mustListen(t, set, "tcp", "127.0.0.1:0")
		set.Open()
		l := &fronts{Listener: ln, plain: true}
		cl, err := net.Dial("tcp", ln.Addr().String())
		check(t, err)
		nc, err := l.Accept()
		check(t, err)
		if _, ok := nc.(io.ReaderFrom); !ok {
			t.Error("can't send files")
		}
		if _, ok := nc.(encrypted); ok {
			t.Error("seems to be encrypted")
		}
		if c, _ := unwrap(nc); c == nil || accepted(nc) != net.Conn(tcpConn{c}) {
			t.Errorf("%T is over %T", nc, accepted(nc))
		}
		_, _ = io.WriteString(cl, said)
		_ = cl.(*net.TCPConn).CloseWrite()
		got, err := io.ReadAll(nc)
		if err != nil || string(got) != said {
			t.Errorf("%q, %v, want %q", got, err, said)
		}
		if n := set.Counts(); n.HTTP2 != 0 {
			t.Errorf("%q is HTTP/2", said)
		}
		if n, err := nc.(io.ReaderFrom).ReadFrom(strings.NewReader("answer")); n != 6 || err != nil {
			t.Error(n, err)
		}
		_ = nc.Close()
		if got, err := io.ReadAll(cl); err != nil || string(got) != "answer" {
			t.Errorf("%q, %v", got, err)
		}
		_ = cl.Close()
		set.Close()
	}
}
