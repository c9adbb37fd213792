//go:build unix

package drain_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

var _ drain.GracefulServer = (*politeServer)(nil)

// politeServer answers each line with the pid, and says bye when it is to leave: then the client is to close. Like
// grpc.Server it looks at a connection in a goroutine of its own, and then closes it if it is leaving.
type politeServer struct {
	gen    *gen
	wg     sync.WaitGroup
	mu     sync.Mutex // guards what follows
	leaves bool
	conns  map[net.Conn]bool
}

// servePolite makes g have a politeServer.
func (g *gen) servePolite() error {
	if !g.Polite {
		return nil
	}
	ln, err := g.svc.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	g.note("lines on %s", ln.Addr())
	g.polite = ln
	g.svc.ServeGraceful(ln, &politeServer{gen: g, conns: map[net.Conn]bool{}})
	return nil
}

func (l *politeServer) Serve(ln net.Listener) error {
	if l.gen.Fault == "lines fail" {
		return errors.New("out of lines")
	}
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		l.wg.Go(func() { l.serve(nc) })
	}
}

func (l *politeServer) serve(nc net.Conn) {
	defer nc.Close()
	if nc.RemoteAddr().Network() != "pipe" && l.gen.fault("late look") {
		l.gen.note("looks")
	}
	l.mu.Lock()
	leaves := l.leaves
	l.conns[nc] = !leaves
	l.mu.Unlock()
	if leaves {
		return
	}
	for lines := bufio.NewScanner(nc); lines.Scan(); {
		if l.gen.Fault == "lines mute" {
			return
		}
		fmt.Fprintln(nc, os.Getpid())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, nc)
}

func (l *politeServer) GracefulStop() {
	l.gen.note("graceful stop")
	l.mu.Lock()
	l.leaves = true
	for nc := range l.conns {
		fmt.Fprintln(nc, "bye")
	}
	l.mu.Unlock()
	l.wg.Wait()
}

// checkPolite is Config.Check's part.
func (g *gen) checkPolite() error {
	if g.polite == nil {
		return nil
	}
	nc, err := g.svc.Dial(g.polite)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(hung))
	if _, err = io.WriteString(nc, "self\n"); err == nil {
		_, err = bufio.NewReader(nc).ReadString('\n')
	}
	if err != nil {
		err = fmt.Errorf("lines: %w", err)
	}
	return err
}

// frameworkServer is an http.Server as a GracefulServer.
type frameworkServer struct{ *http.Server }

func (f frameworkServer) GracefulStop() { _ = f.Shutdown(context.Background()) }

// serveBy serves as a framework does, which sets its server up just before.
func (g *gen) serveBy(ln net.Listener, srv *http.Server) {
	if g.By == "ServeGraceful" {
		g.svc.ServeGraceful(ln, frameworkServer{srv})
		return
	}
	h := srv.Handler
	srv.Handler = nil
	g.svc.Track(srv)
	g.svc.Track(srv)
	srv.Handler, srv.ConnState = h, func(net.Conn, http.ConnState) {}
	if !g.fault("Track too late") {
		go func() {
			if g.Cert == "" {
				_ = srv.Serve(ln)
			} else {
				_ = srv.ServeTLS(ln, g.Cert, g.Key)
			}
		}()
	}
}

// Whoever calls the Serve of an http.Server.
func TestServersOfFrameworksLoseNothing(t *testing.T) {
	eachOf(t, func(t *testing.T, by string) {
		p, reconnects := plan{By: by}, 0
		if by == "Track over TLS" {
			// A client that comes back may meet the one that leaves.
			p, reconnects = tlsPlan(t, plan{By: "Track", IdleGrace: patient}), 2*5*16
		}
		s := start(t, p)
		l := s.drive(16, 4*time.Millisecond)
		for range 5 {
			s.swap()
			l.settle()
		}
		l.endWith(reconnects)
		if n := s.status().Open; n.Adopted < 16 && p.Cert == "" {
			t.Errorf("%+v; want connections handed over", n)
		}
		s.stop()
		s.wantNothingLost()
	}, "Track", "Track over TLS", "ServeGraceful")
}

func TestServerThatDoesNotServeIsNoService(t *testing.T) {
	t.Parallel()
	s := start(t, plan{By: "Track"})
	s.nextHas("Track too late")
	s.wantFailure(s.drive(1, time.Millisecond), "given to Track does not serve", func() {})
	s.nextHas("")
	s.swap()
	s.stop()
}

// guest is a client of a politeServer.
type guest struct {
	*service
	net.Conn
	r *bufio.Reader
}

func (s *service) guest() *guest {
	s.Helper()
	note := s.noteSince(0, 0, "lines on ").Note
	nc := have(net.Dial("tcp", strings.TrimPrefix(note, "lines on ")))(s)
	s.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(2 * hung))
	return &guest{s, nc, bufio.NewReader(nc)}
}

func (l *guest) send() {
	l.Helper()
	if _, err := io.WriteString(l.Conn, "line\n"); err != nil {
		l.Error(err)
	}
}

func (l *guest) want(line any) {
	l.Helper()
	if got, err := l.r.ReadString('\n'); strings.TrimSpace(got) != fmt.Sprint(line) {
		l.Errorf("%q, %v; want %v", got, err, line)
	}
}

// wantBoth wants two lines that don't wait for each other: a connection has been looked at when its first
// line is yet to be read.
func (l *guest) wantBoth(a, b any) {
	l.Helper()
	got, err := l.r.ReadString('\n')
	if strings.TrimSpace(got) == fmt.Sprint(b) {
		a, b = b, a
	}
	if strings.TrimSpace(got) != fmt.Sprint(a) {
		l.Errorf("%q, %v; want %v or %v", got, err, a, b)
	}
	l.want(b)
}

func TestAGracefulServerFinishesWhatItHas(t *testing.T) {
	s := start(t, plan{Polite: true})
	old := s.guest()
	old.send()
	old.want(s.pgid)
	two := s.swap()
	old.want("bye")
	old.send()
	old.want(s.pgid)
	young := s.guest()
	young.send()
	young.want(two.PID)
	_ = old.Close()
	s.event(1, "stopped")
	s.signal(two.PID, syscall.SIGTERM)
	young.want("bye")
	young.send()
	young.want(two.PID)
	_ = young.Close()
	s.event(2, "stopped")
	s.gone()
	s.wantExit(s.pgid, 0)
	s.wantNothingLost()
}

// Issue of grpc.Server: what it has not looked at when a graceful stop begins, it closes.
func TestAGracefulStopBeginsWhenEachConnectionHasBeenLookedAt(t *testing.T) {
	eachOf(t, func(t *testing.T, how string) {
		s, open := startAt(t, "late look", plan{Polite: true})
		c := s.guest()
		c.send()
		s.noteSince(0, s.pgid, "at the gate")
		if how == "swap" {
			s.swap()
			s.event(1, "replaced")
		} else {
			s.signal(s.pgid, syscall.SIGTERM)
			s.event(1, "draining")
		}
		open()
		c.wantBoth(s.pgid, "bye")
		_ = c.Close()
		s.event(1, "stopped")
		s.wantOrder(noted(1, "looks"), noted(1, "graceful stop"))
		if how == "swap" {
			s.stop()
		}
	}, "swap", "stop")
}

func TestConfigCheckReachesAGracefulServer(t *testing.T) {
	s := start(t, plan{Polite: true})
	s.nextHas("lines mute")
	s.wantFailure(s.drive(1, time.Millisecond), "lines: EOF", func() {})
	s.nextHas("")
	s.swap()
	s.stop()
}
