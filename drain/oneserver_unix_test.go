//go:build unix

package drain_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// serveAgain makes the server serve on the other listeners of the plan.
func (g *gen) serveAgain(srv *http.Server) error {
	for _, again := range g.Again {
		ln, err := g.svc.Listen("tcp", again[0])
		if err != nil {
			return err
		}
		if again[1] == "" {
			g.svc.Serve(ln, srv)
		} else if err := g.svc.ServeTLS(ln, srv, again[1], again[2]); err != nil {
			return err
		}
	}
	return nil
}

// pair writes a certificate and its key.
func pair(t testing.TB) (cert, key string) {
	t.Helper()
	p := tlsPlan(t, plan{})
	return filepath.Clean(p.Cert), filepath.Clean(p.Key)
}

// h2Client is a client of HTTP/2 alone. It sends a request again only where the server has not looked at it.
type h2Client struct {
	*http.Client
	url string
}

func newH2Client(t testing.TB, address string) *h2Client {
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &h2Client{&http.Client{Transport: transport, Timeout: 2 * hung}, "https://" + address}
}

func (c *h2Client) post(body string) error {
	resp, err := c.Post(c.url+"/echo", "text/plain", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && (string(got) != body || resp.ProtoMajor != 2) {
		err = fmt.Errorf("%s %d %q", resp.Proto, resp.StatusCode, got)
	}
	return err
}

// Net/http lets one server have several listeners, and so does the service: through swaps and a stop nobody
// loses anything, clients without TLS keep their connections, and each connection and each request counts once.
func TestOneServerOnSeveralListeners(t *testing.T) {
	t.Parallel()
	for _, tlsFirst := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS first ", tlsFirst), func(t *testing.T) {
			cert, key := pair(t)
			one, two := freePort(t), freePort(t)
			p := plan{IdleGrace: patient, DrainTimeout: 2 * hung, MaxGenerations: 16,
				Again: [][3]string{{one}, {two, cert, key}}}
			if tlsFirst {
				p.Cert, p.Key, p.Again[1] = cert, key, [3]string{two}
			}
			s := start(t, p)
			plain, secure := []string{s.address(), one}, two
			if tlsFirst {
				plain, secure = []string{one, two}, s.address()
			}
			h2 := newH2Client(t, secure)
			s.wantCountedOnce(plain, secure, h2)
			var loads []*load
			for _, address := range plain {
				loads = append(loads, s.driveBy(func() (*client, error) { return s.dialAt(address, false) }, 3, 0, 4*time.Millisecond))
			}
			l := s.driveBy(func() (*client, error) { return s.dialAt(secure, true) }, 2, 0, 4*time.Millisecond)
			var streams sync.WaitGroup
			quit := make(chan struct{})
			streams.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-quit:
						return
					default:
					}
					if err := h2.post(fmt.Sprint("stream ", n)); err != nil {
						t.Errorf("HTTP/2: %v", err)
						return
					}
				}
			})
			for range 4 {
				old := s.main().PID
				s.swap()
				for _, l := range append(loads, l) {
					l.settle()
				}
				s.wantExit(old, 0)
			}
			for _, l := range loads {
				l.end()
			}
			l.endWith(math.MaxInt)
			close(quit)
			streams.Wait()
			s.stop()
			s.wantNothingLost()
			s.wantQuickEnds(4 * patient)
		})
	}
}

// wantCountedOnce leaves nothing open but a connection of h2's.
func (s *service) wantCountedOnce(plain []string, secure string, h2 *h2Client) {
	s.Helper()
	var open []*client
	for i, address := range append(plain, secure) {
		c := have(s.dialAt(address, i == len(plain)))(s)
		open = append(open, c)
		for n := 1; n <= 2; n++ {
			if a, err := c.ask("GET", "/number", ""); err != nil || a.body != fmt.Sprint(n) {
				s.Errorf("%s: request %d: %+v, %v", address, n, a, err)
			}
		}
	}
	if err := h2.post("hello"); err != nil {
		s.Error(err)
	}
	s.eventualStatus("each connection once", func(st drain.Status) bool {
		n := st.Open // and the one that asks
		return n.Idle == len(open) && n.Active == 1 && n.HTTP2 == 1 && n.Open() == len(open)+2
	})
	for _, c := range open {
		_ = c.Close()
	}
}

// Visitors who come by any listener of the server put off that a pull is noticed.
func TestPullIsNotNoticedWhileVisitorsComeToTheSecondListener(t *testing.T) {
	second := freePort(t)
	s := start(t, plan{PullMax: 2 * hung, Again: [][3]string{{second}}})
	probe := func() {
		t.Helper()
		c := s.connect()
		defer c.Close()
		if _, err := c.ask("GET", "/ping", ""); err != nil {
			t.Fatal(err)
		}
	}
	visit := func() {
		c, err := s.dialAt(second, false)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if a, err := c.ask("GET", "/number", ""); err != nil || a.body != "1" {
			t.Errorf("%+v, %v", a, err)
		}
	}
	const interval = 250 * time.Millisecond
	probes := time.NewTicker(interval)
	defer probes.Stop()
	var visitors sync.WaitGroup
	quit := make(chan struct{})
	var last time.Time
	var gap time.Duration // the longest between two visitors
	visitors.Go(func() {
		for last = time.Now(); !isClosed(quit) && !t.Failed(); last = time.Now() {
			visit()
			gap = max(gap, time.Since(last))
		}
	})
	for n := range 12 {
		<-probes.C
		probe()
		if n == 4 {
			s.signal(s.pgid, syscall.SIGUSR2)
			s.event(1, "pulled")
		}
	}
	close(quit)
	visitors.Wait()
	noticed := s.event(1, "pull noticed")
	if noticed.At < last.UnixNano() && gap < interval/2 { // with a longer one, this machine was too busy to tell
		t.Errorf("noticed %v before the last visitor", last.Sub(time.Unix(0, noticed.At)))
	}
	s.stop()
}
