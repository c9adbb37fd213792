package drain

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/baton-go/baton/drain/internal/gate"
	"github.com/baton-go/baton/drain/internal/tlsconf"
	"github.com/baton-go/baton/listener"
)

// servers are what was given to Serve or ServeTLS.
type servers struct {
	set     *listener.Set
	gate    *gate.Gate // before their handlers
	service any        // the *Service, for contexts

	sync.Mutex                       // held while a server's fields change; guards what follows
	known      map[*http.Server]bool // nothing is written any more to one that is there: it may be serving
	contexts   map[*http.Server]contexts
	all        []server
	foreign    []foreignServer
	graceful   []server // of ServeGraceful: nothing but ln
	closed     bool
}

// server is an http.Server and the listener it serves.
type server struct {
	*http.Server
	ln  net.Listener    // as the user has it
	sec *tlsconf.Server // nil: it does not speak TLS, or ln does
}

// foreignServer is a server that a framework is to run.
type foreignServer struct {
	*http.Server
	begun chan struct{} // closed when it serves
}

func newServers(set *listener.Set) *servers {
	return &servers{set: set, known: make(map[*http.Server]bool),
		contexts: make(map[*http.Server]contexts)}
}

// add tells whether the server may serve: not after the end.
func (s *servers) add(srv server) bool {
	s.Lock()
	defer s.Unlock()
	if !s.closed {
		s.all = append(s.all, srv)
	}
	return !s.closed
}

// await waits until the servers of frameworks serve.
func (s *servers) await(ctx context.Context) error {
	s.Lock()
	all := s.foreign
	s.Unlock()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	for _, srv := range all {
		select {
		case <-srv.begun:
		case <-ctx.Done():
			return fmt.Errorf("the http.Server %q that was given to Track does not serve: call Track before its "+
				"Serve, which must begin before Run or soon after, and leave its BaseContext alone", srv.Addr)
		}
	}
	return nil
}

func (s *servers) countGraceful() int {
	s.Lock()
	defer s.Unlock()
	return len(s.graceful)
}

func (s *servers) list() []server {
	s.Lock()
	defer s.Unlock()
	return slices.Clone(s.all)
}

// close does not wait for long: what the program has put around its listeners and connections runs in it.
func (s *servers) close() {
	s.Lock()
	s.closed = true
	all := s.all
	s.Unlock()
	within(lastWords, func() {
		for _, srv := range all {
			_ = srv.Close()
		}
	})
}

// listenGate is closed when it is too late to listen: the sockets are those that the generation after
// this one gets.
type listenGate struct {
	sync.RWMutex // held while a socket is opened; guards late
	late         bool
}

func (g *listenGate) close() {
	g.Lock()
	defer g.Unlock()
	g.late = true
}

// checkTimeout bounds one request of the self-check.
const checkTimeout = 5 * time.Second

// selfCheck asks each server for the ping path, through its own Accept, and then Config.Check.
func (s *servers) selfCheck(ctx context.Context, cfg *Config) error {
	err := s.await(ctx)
	if err == nil {
		err = s.ask(ctx, cfg.PingPath, cfg.LivePath, false)
	}
	if err != nil || cfg.Check == nil {
		return err
	}
	s.Lock()
	all := slices.Concat(s.all, s.graceful)
	s.Unlock()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return s.dial(ctx, all, addr)
		},
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			secured := slices.DeleteFunc(slices.Clone(all), func(srv server) bool { return srv.sec == nil })
			if len(secured) > 0 {
				return s.dial(ctx, secured, addr)
			}
			nc, err := s.dial(ctx, all, addr) // a framework's server may speak TLS
			if err != nil {
				return nil, err
			}
			name, _, _ := net.SplitHostPort(addr)
			config := &tls.Config{InsecureSkipVerify: true, ServerName: name} //nolint:gosec // see listener.Set.Dial
			return tls.Client(nc, config), nil
		},
	}}
	defer client.CloseIdleConnections()
	if err := await(ctx, orCrash, func() error { return cfg.Check(ctx, client) }); err != nil {
		return fmt.Errorf("Config.Check: %w", err)
	}
	return nil
}

// dial connects to the server at addr, or else to the first one, with TLS if it wants that.
func (s *servers) dial(ctx context.Context, all []server, addr string) (net.Conn, error) {
	if len(all) == 0 {
		return nil, errors.New("the service has no such listener")
	}
	i := slices.IndexFunc(all, func(srv server) bool { return srv.ln.Addr().String() == addr })
	srv := all[max(i, 0)]
	nc, err := s.set.Dial(srv.ln)
	if err != nil || srv.sec == nil {
		return nc, err
	}
	name, _, _ := net.SplitHostPort(addr)
	tc, err := srv.sec.Handshake(ctx, nc, name)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return tc, nil
}

// ask asks each server, for the second path where the first is "-". Any answer will do if any says so.
func (s *servers) ask(ctx context.Context, path, otherwise string, any bool) error {
	if path == "-" {
		path = otherwise
	}
	for _, srv := range s.list() {
		if err := s.check(ctx, srv, path); err != nil && !(any && errors.As(err, new(badAnswer))) {
			return fmt.Errorf("%v: %w", srv.ln.Addr(), err)
		}
	}
	return nil
}

// check speaks HTTP by itself: a client's Transport would double the time that a swap takes in this process.
func (s *servers) check(ctx context.Context, srv server, path string) error {
	if !s.set.Made(srv.ln) {
		return nil // what wraps our listener may want TLS: only Config.Check knows how to talk to it
	}
	nc, err := s.set.Dial(srv.ln)
	if errors.Is(err, net.ErrClosed) {
		return nil // by the program, which may have another there
	}
	if err != nil {
		return err
	}
	defer nc.Close()
	if path == "-" {
		return nil
	}
	req, err := http.NewRequest(http.MethodGet, "http://self"+path, nil)
	if err != nil {
		return err
	}
	req.Close = true
	_ = nc.SetDeadline(time.Now().Add(checkTimeout))
	wire := nc
	if srv.sec != nil {
		switch wire, err = srv.sec.Handshake(ctx, nc, ""); {
		case err != nil && srv.sec.Chooses, err == nil && !srv.sec.HTTP1:
			return nil
		case err != nil:
			return err
		}
	}
	err = req.Write(wire)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(bufio.NewReader(wire), req)
	}
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var why struct{ Message string } // as health answers
	_ = json.NewDecoder(io.LimitReader(resp.Body, 1<<10)).Decode(&why)
	return fmt.Errorf("GET %s answers %w", path, badAnswer(strings.TrimRight(resp.Status+": "+why.Message, ": ")))
}

// badAnswer is an answer other than 200.
type badAnswer string

func (r badAnswer) Error() string { return string(r) }
