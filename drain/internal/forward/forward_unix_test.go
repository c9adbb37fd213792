//go:build unix

package forward

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/drain/internal/testcert"
)

// world is one server of a case. A handler notes what it sees, and client and handler wait for each other by step.
type world struct {
	t      *testing.T
	srv    *httptest.Server
	step   chan string
	saw    chan string // notes, when the handler has ended
	notes  strings.Builder
	failed chan error
}

func (w *world) note(format string, args ...any) { fmt.Fprintf(&w.notes, format+"\n", args...) }

// await fails the test rather than hang.
func await[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("%s: not within 20 s\n%s", what, buf[:runtime.Stack(buf, true)])
	}
	return v
}

// socketpair is what the two generations have.
func socketpair(t testing.TB) (a, b net.Conn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []*net.Conn{&a, &b} {
		f := os.NewFile(uintptr(fds[i]), "pair")
		if *c, err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return a, b
}

type key struct{}

func accept(far net.Conn, h http.Handler, base func(context.Context) context.Context) *Link {
	target := func(*About, net.Conn) (http.Handler, func(context.Context) context.Context) { return h, base }
	return Accept(context.Background(), far, target, func(f func()) { go f() }, func(err error) { panic(err) })
}

func same(ctx context.Context) context.Context { return ctx }

// build starts a server for h: directly, or behind Proxy and Serve.
func build(t *testing.T, kind string, forwarded bool, h func(*world, http.ResponseWriter, *http.Request)) *world {
	w := &world{t: t, step: make(chan string), saw: make(chan string, 1), failed: make(chan error, 1)}
	handler := http.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bye" {
			return
		}
		defer func() {
			w.saw <- w.notes.String()
			w.notes.Reset()
		}()
		w.noteRequest(rw, r)
		h(w, rw, r)
	}))
	quiet := log.New(io.Discard, "", 0)
	server := &http.Server{ErrorLog: quiet}
	base := func(ctx context.Context) context.Context {
		return context.WithValue(context.WithValue(ctx, http.ServerContextKey, server), key{}, "of base")
	}
	if forwarded {
		target := handler
		handler = &Proxy{
			Dial: func() (net.Conn, error) {
				near, far := net.Pipe()
				if kind != "tls" {
					near, far = socketpair(t)
				}
				accept(far, target, base)
				return near, nil
			},
			Listener: func(context.Context) string { return "" },
			Failed:   func(err error) { w.failed <- err },
		}
	}
	w.srv = httptest.NewUnstartedServer(handler)
	w.srv.Config.ErrorLog = quiet
	w.srv.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return base(ctx) }
	if kind == "http" {
		w.srv.Start()
	} else {
		w.srv.EnableHTTP2 = kind == "h2"
		w.srv.TLS = tlsFor(t, map[string]string{"tls": "http/1.1", "h2": "h2"}[kind])
		w.srv.StartTLS()
	}
	t.Cleanup(w.srv.Close)
	return w
}

// noteRequest notes all that a handler can see of a request before it reads the body.
func (w *world) noteRequest(rw http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	target := *r.URL
	target.User = nil
	w.note("%s %q %#v %v %q %q %d %d", r.Method, r.RequestURI, target, r.URL.User, r.Host,
		r.Proto, r.ProtoMajor, r.ProtoMinor)
	w.note("header %#v", r.Header) // fmt sorts a map
	w.note("trailer %#v, coding %q, length %d, close %v, no body %v", r.Trailer, r.TransferEncoding, r.ContentLength,
		r.Close, r.Body == http.NoBody)
	local, _ := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr)
	w.note("local %v, remote %v, base %v", local.String() == w.srv.Listener.Addr().String(),
		strings.HasPrefix(r.RemoteAddr, "127.0.0.1:"), ctx.Value(key{}))
	_, hijack := rw.(http.Hijacker)
	_, from := rw.(io.ReaderFrom)
	_, notify := rw.(http.CloseNotifier) //nolint:staticcheck // frameworks ask for it
	_, flush := rw.(http.Flusher)
	w.note("hijack %v, from %v, flush %v, notify %v", hijack, from, flush, notify)
	if r.TLS != nil {
		plain := *r.TLS
		plain.PeerCertificates, plain.VerifiedChains = nil, nil
		b, _ := json.Marshal(plain)
		w.note("TLS %s of %v", b, r.TLS.PeerCertificates[0].Subject)
		for _, chain := range r.TLS.VerifiedChains {
			w.note("verified: %d, %v", len(chain), chain[0].Equal(r.TLS.PeerCertificates[0]))
		}
	}
}

// all reads the body, and notes how it ends.
func (w *world) all(r *http.Request) []byte {
	b, err := io.ReadAll(r.Body)
	w.note("body of %d %.40q, %v, trailer %v", len(b), b, err, r.Trailer)
	return b
}

// certificate is for servers and clients.
var certificate = sync.OnceValues(func() (tls.Certificate, error) {
	return tls.X509KeyPair(testcert.New(new(testing.T), 7))
})

// tlsFor has a certificate, and no costly exchange of keys.
func tlsFor(t *testing.T, proto string) *tls.Config {
	pair, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	known.AddCert(pair.Leaf)
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}, Certificates: []tls.Certificate{pair},
		ServerName: "test", ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: known,
		CurvePreferences: []tls.CurveID{tls.X25519}}
}

var date = regexp.MustCompile(`Date:[^\n]* GMT`)

// http1 speaks the case's text, and returns all bytes that come back until the server closes, or says that it stays.
func (c *testCase) http1(w *world, kind string) string {
	nc, err := net.Dial("tcp", w.srv.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	if kind == "tls" {
		nc = tls.Client(nc, tlsFor(w.t, "http/1.1"))
	}
	var got bytes.Buffer
	br := bufio.NewReader(io.TeeReader(nc, &got))
	text := strings.ReplaceAll(c.request, "\n", "\r\n")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(nc, text+c.body)
	}()
	if c.talk != nil {
		c.talk(w, nc, br)
	} else {
		method, _, _ := strings.Cut(text, " ")
		stays := false
		for resp := (*http.Response)(nil); resp == nil || resp.StatusCode < 200; {
			if resp, err = http.ReadResponse(br, &http.Request{Method: method}); err != nil {
				break
			}
			_, err = io.Copy(io.Discard, resp.Body)
			stays = err == nil && !resp.Close
		}
		fmt.Fprintf(&got, "\nread: %v\n", err)
		await(w.t, sent, "the client's request")
		if stays {
			_, _ = io.WriteString(nc, "GET /bye HTTP/1.0\r\n\r\n")
		} else {
			_ = nc.(interface{ CloseWrite() error }).CloseWrite() // a body that nobody wants may be awaited
		}
	}
	_, _ = io.Copy(io.Discard, br)
	return date.ReplaceAllString(got.String(), "Date: then")
}

// http2 does the same request by HTTP/2, and returns what there is of an answer.
func (c *testCase) http2(w *world) string {
	tr := &http.Transport{TLSClientConfig: tlsFor(w.t, "h2"), ForceAttemptHTTP2: true, DisableCompression: true}
	defer tr.CloseIdleConnections()
	text := strings.ReplaceAll(c.request, "\n", "\r\n")
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text + c.body)))
	if err != nil {
		w.t.Fatal(err)
	}
	req.RequestURI, req.URL.Scheme, req.URL.Host = "", "https", w.srv.Listener.Addr().String()
	if c.stream != nil {
		req.Body, req.ContentLength = c.stream(w), -1
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	var got strings.Builder
	resp, err := tr.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			fmt.Fprintf(&got, "%d %v\n", code, h)
			return nil
		},
	})))
	if err != nil {
		return got.String() + err.Error()
	}
	for k, vv := range resp.Header {
		if k == "Date" && strings.HasSuffix(vv[0], "GMT") {
			resp.Header[k] = []string{"then"}
		}
	}
	fmt.Fprintf(&got, "%s %v %d %v\n", resp.Status, resp.Header, resp.ContentLength, resp.Trailer)
	if c.talk2 != nil {
		c.talk2(w, resp, cancel)
	}
	b, err := io.ReadAll(resp.Body)
	fmt.Fprintf(&got, "%d %.60q %v %v", len(b), b, err, resp.Trailer)
	return got.String()
}

type testCase struct {
	name, request, body string
	kinds               string // empty: all
	handler             func(*world, http.ResponseWriter, *http.Request)
	talk                func(*world, net.Conn, *bufio.Reader)
	stream              func(*world) io.ReadCloser
	talk2               func(*world, *http.Response, context.CancelFunc)
}

// TestClientAndHandlerSeeTheSame: what a client gets, byte for byte, and what a handler sees, don't tell a forwarded
// request from one that is served where it came.
func TestClientAndHandlerSeeTheSame(t *testing.T) {
	t.Parallel()
	for _, c := range cases {
		for _, kind := range strings.Fields(cmp.Or(c.kinds, "http tls h2")) {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				var got, saw [2]string
				for i, forwarded := range []bool{false, true} {
					w := build(t, kind, forwarded, c.handler)
					if kind == "h2" {
						got[i] = c.http2(w)
					} else {
						got[i] = c.http1(w, kind)
					}
					saw[i] = await(t, w.saw, "the handler's end")
				}
				if got[0] != got[1] {
					t.Errorf("the client got\n%.2000q\nnot\n%.2000q", got[1], got[0])
				}
				if saw[0] != saw[1] {
					t.Errorf("the handler saw\n%s\nnot\n%s", saw[1], saw[0])
				}
				if testing.Verbose() {
					t.Logf("%.600q\n%s", got[0], saw[0])
				}
			})
		}
	}
}

// TestFailures: a client gets 502, and the caller is told, while no answer has begun; later the connection is cut, and
// the old process is left with nothing, even of a client that does not read.
func TestFailures(t *testing.T) {
	t.Parallel()
	dying := func(h func(http.ResponseWriter, *http.Request)) func(net.Conn) {
		return func(nc net.Conn) {
			accept(nc, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				h(rw, r)
				nc.Close()
			}), same)
		}
	}
	for _, c := range []struct {
		name  string
		far   func(net.Conn) // nil: dial fails
		told  string
		cut   bool
		reads int // of the answer, before the client leaves
	}{
		{"dial", nil, "dial", false, 99},
		{"dies at once", func(nc net.Conn) { nc.Close() }, "has ended", false, 99},
		{"speaks another version",
			func(nc net.Conn) { _, _ = io.WriteString(nc, "fwd\x09") },
			`speaks "fwd\t" at the other end`, false, 99},
		{"dies before it answers",
			dying(func(http.ResponseWriter, *http.Request) {}),
			"has ended", false, 99},
		{"dies before it has answered",
			dying(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(200) }),
			"has ended", false, 99},
		{"dies after a hint",
			dying(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(103) }),
			"has ended", false, 999},
		{"dies in the answer",
			dying(func(rw http.ResponseWriter, _ *http.Request) { write(rw, "abc") }),
			"", true, 999},
		{"dies in a large answer", func(nc net.Conn) {
			dying(func(rw http.ResponseWriter, _ *http.Request) {
				write(rw, big)
				time.AfterFunc(50*time.Millisecond, func() { nc.Close() })
				for range 100 {
					write(rw, big)
				}
			})(nc)
		}, "", true, 0},
		{"dies with the client's connection",
			dying(func(rw http.ResponseWriter, _ *http.Request) {
				_, _, _ = http.NewResponseController(rw).Hijack()
			}),
			"", false, 999},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			told, ended := make(chan error, 9), make(chan any, 1)
			h := &Proxy{Dial: func() (net.Conn, error) {
				if c.far == nil {
					return nil, errors.New("dial")
				}
				near, far := socketpair(t)
				c.far(far)
				return near, nil
			}, Listener: func(context.Context) string { return "" }, Failed: func(err error) { told <- err }}
			srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				defer func() { ended <- recover() }()
				h.ServeHTTP(rw, r)
			}))
			defer srv.Close()
			nc, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_, _ = io.WriteString(nc, "GET / HTTP/1.0\r\n\r\n")
			got, _ := io.ReadAll(io.LimitReader(nc, int64(c.reads)))
			if v := await(t, ended, "the end in the old process"); c.cut != (v != nil) {
				t.Errorf("the handler has panicked with %v", v)
			}
			bad := strings.Contains(string(got), "502 Bad Gateway")
			if bad != (c.told != "") || bad != (len(told) == 1) {
				t.Errorf("the client got %q, failed is told %d times", got, len(told))
			} else if bad {
				if err := <-told; !strings.Contains(err.Error(), c.told) {
					t.Errorf("failed is told %v", err)
				}
			}
		})
	}
}

// A process that is halted holds up a dial for seconds. All requests that wait for it share that dial and its end.
func TestRequestsShareADial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const wait = 5 * time.Second
		dials := 0
		p := &Proxy{Listener: func(context.Context) string { return "" }, Failed: func(error) {}}
		p.Dial = func() (net.Conn, error) {
			dials++
			time.Sleep(wait)
			return nil, errors.New("halted")
		}
		var all sync.WaitGroup
		begin := time.Now()
		for range 20 {
			all.Go(func() {
				rec := httptest.NewRecorder()
				if p.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil)); rec.Code != http.StatusBadGateway {
					t.Errorf("the answer is %d", rec.Code)
				}
			})
		}
		all.Wait()
		if took := time.Since(begin); dials != 1 || took != wait {
			t.Errorf("%d dials took %v", dials, took)
		}
	})
}

// TestVersion1IsFrozen: another version of the library knows these fields, and no others. It may not know these calls,
// and says so: none but those of the first release are relied on. What is new otherwise needs another version.
func TestVersion1IsFrozen(t *testing.T) {
	t.Parallel()
	calls := map[string]bool{}
	for _, file := range []string{"trunk.go", "proxy.go", "serve.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:Op: |case )"([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
			calls[m[1]] = m[1] != "conn."
		}
	}
	const want = "close,conn.close,conn.close write,conn.read,conn.write,copy,draining,duplex,flush,gone,head,hijack," +
		"leave,read,read by,serve,source,write,write by"
	if got := strings.Join(slices.Sorted(maps.Keys(calls)), ","); got != want {
		t.Errorf("calls %q, not %q", got, want)
	}
	header := http.Header{"k": {"v", "w"}}
	full := message{Stream: 1, ID: 300, Op: "o", N: -1, SetHeader: true, Header: header,
		Early:   &early{200, header, []byte("e")},
		About:   &About{"a", "n", "l", "r", &TLS{[]byte("{}"), [][]byte{{1}}, [][][]byte{{{2}}}}},
		Request: &request{"m", "t", "h", "p", 1, 2, header, header, 5, []string{"c"}, true, true},
		Fault:   &fault{Text: "t", Known: "k", Panic: true}, data: []byte("d")}
	b := full.append([]byte("before"))[6:]
	if got := fmt.Sprintf("%q", b); got != fields {
		t.Errorf("%s\nnot\n%s", got, fields)
	}
	if got, err := receive(bytes.NewReader(b)); !reflect.DeepEqual(got, full) || err != nil {
		t.Errorf("%+v, %v\nnot\n%+v", got, err, full)
	}
	for n := range b {
		cut := bytes.Clone(b[:n])
		if n >= 8 {
			binary.BigEndian.PutUint32(cut, uint32(n-8))
			binary.BigEndian.PutUint32(cut[4:], 0)
		}
		if _, err := receive(bytes.NewReader(cut)); err == nil && n < len(b)-1 {
			t.Errorf("no error of the first %d bytes", n)
		}
	}
}

const fields = `"\x00\x00\x00W\x00\x00\x00\x01` +
	`\x01\xac\x02\x01o\x01\x01\x01\x01k\x02\x01v\x01w\x01\x90\x03\x01\x01k\x02\x01v\x01w\x01e` +
	`\x01\x01a\x01n\x01l\x01r\x01\x02{}\x01\x01\x01\x01\x01\x01\x02` +
	`\x01\x01m\x01t\x01h\x01p\x02\x04\x01\x01k\x02\x01v\x01w\x01\x01k\x02\x01v\x01w\n\x01\x01c\x01\x01` +
	`\x01\x01t\x01k\x01d"`

// Over HTTP/2 net/http makes a GOAWAY of a handler's "Connection: close", which loses other requests on the connection.
func TestNoAnswerEndsAConnectionOfHTTP2(t *testing.T) {
	t.Parallel()
	p := &Proxy{Listener: func(context.Context) string { return "" }, Failed: func(err error) { t.Error(err) }}
	p.Dial = func() (net.Conn, error) {
		near, far := socketpair(t)
		accept(far, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Connection", "close")
			rw.Header().Set("X", "y")
		}), same)
		return near, nil
	}
	for major, want := range map[int]string{1: "close", 2: ""} {
		rec, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		r.ProtoMajor = major
		p.ServeHTTP(rec, r)
		if h := rec.Result().Header; h.Get("Connection") != want || h.Get("X") != "y" {
			t.Errorf("HTTP/%d: %v", major, h)
		}
	}
}

// TestLeave: requests share a connection until the other process leaves; none that has been sent by then is lost, and
// the next one goes elsewhere.
func TestLeave(t *testing.T) {
	t.Parallel()
	var dials atomic.Int32
	links, entered, release := make(chan *Link, 9), make(chan int32, 99), make(chan struct{})
	p := &Proxy{Listener: func(context.Context) string { return "" }, Failed: func(err error) { t.Error(err) }}
	p.Dial = func() (net.Conn, error) {
		near, far := socketpair(t)
		n := dials.Add(1)
		links <- accept(far, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			entered <- n
			if n == 1 {
				<-release
			}
			write(rw, big)
		}), same)
		return near, nil
	}
	var all sync.WaitGroup
	ask := func() {
		rec := httptest.NewRecorder()
		if p.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil)); rec.Body.String() != big {
			t.Errorf("%d, %d bytes", rec.Code, rec.Body.Len())
		}
	}
	for range 20 {
		all.Go(ask)
	}
	for range 20 {
		if n := await(t, entered, "a request"); n != 1 {
			t.Error(n)
		}
	}
	first, left := <-links, make(chan struct{})
	go func() { first.Leave(); close(left) }()
	for n := int32(1); n == 1; n = await(t, entered, "a request elsewhere") {
		all.Go(ask)
	}
	select {
	case <-left:
		t.Error("it has left before the last answer")
	default:
		close(release)
	}
	all.Wait()
	await(t, left, "the end of Leave")
	(<-links).nc.Close()
}
