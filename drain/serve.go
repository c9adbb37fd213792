package drain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/baton-go/baton/drain/internal/forward"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/process"
	"github.com/baton-go/baton/health"
	"github.com/baton-go/baton/listener"
)

// Listen returns the listener that the previous generation has passed on, or opens one: network is
// "tcp", "tcp4", "tcp6" or "unix". Nothing is accepted from outside before the service is ready. It
// must be called before Run, or in Config.Ready: later it returns an error, since the next
// generation takes over only what it asks for before it is ready itself. What is to answer later
// can be served later. The service closes the listener. A new version may spell an address
// otherwise (":80", "0.0.0.0:80", "localhost:http", tcp4 for tcp, a unix path through a link): it
// has the socket that is bound to it. What it no longer listens on is closed when it takes over.
//
// A program may close the listener too, best by Shutdown of its server, and Listen there again, also
// later. The address is free meanwhile, unless another process has it as well: a new generation, an
// older one that drains and has a packet socket, systemd.
//
// Under systemd, what its socket units pass (LISTEN_FDS) is preferred to opening one, if it is bound to the address;
// Listen("fd", name) is the one with that FileDescriptorName=. Where the unit has a FileDescriptorStoreMax=, every
// listener is kept in systemd's file descriptor store, under a name made of network and address. Then a crash, a kill
// -9 or "systemctl restart" does not close the port: clients wait for the next process. See listener.Set.Manage and
// Keep.
//
// Not promised: with the store, that no client connects after the last stop. Such a client is reset when systemd
// empties the store.
//
// What it accepts is not a *net.TCPConn, but has NetConn, for its options: see listener.Set.Listen.
func (s *Service) Listen(network, address string) (net.Listener, error) {
	return s.ListenWith(net.ListenConfig{}, network, address)
}

// ListenWith is Listen with the Control and keep-alive of lc; see listener.Set.ListenWith, which also says when it
// returns an error. Control is called in the generation that opens the socket, and not in those that take it over. The
// error is a RefusedError where it is too late, as Listen says.
func (s *Service) ListenWith(lc net.ListenConfig, network, address string) (net.Listener, error) {
	return listenInTime(s, "Listen", s.set.ListenWith, lc, network, address)
}

// atStart is the address, in the folder of the start if it is a path. One that would be too long then stays as it is.
func atStart(network, address string) string {
	const most = 103 // bytes that all systems take
	path := process.AtStart(address)
	if !strings.HasPrefix(network, "unix") || strings.HasPrefix(address, "@") || len(path) > most {
		return address
	}
	return path
}

// listenInTime calls listen, unless it is too late for that.
func listenInTime[T any](s *Service, what string, listen func(net.ListenConfig, string, string) (T, error),
	lc net.ListenConfig, network, address string) (so T, err error) {
	s.emitter.observe()
	address = atStart(network, address)
	defer func() { s.reportStartFailure(err) }()
	s.listens.RLock()
	defer s.listens.RUnlock()
	if s.listens.late && !s.set.Reopens(network, address) {
		return so, refused(fmt.Sprintf("drain: %s %s %q: too late: the next generation takes over only what it "+
			"asks for before it is ready; "+
			"call %[1]s before Run, or in Config.Ready", what, network, address))
	}
	return listen(lc, network, address)
}

// ListenPacket is Listen for "udp", "udp4", "udp6", "unixgram" and "fd", before Run too; see
// listener.Set.ListenPacket for what it returns. One generation at a time reads: a new one's reads
// wait until it has taken over, the old one's end with net.ErrClosed before. No datagram in the
// kernel's queue is lost: the next generation reads it or, in a stop, this one does before its
// reads end. The old one can write, to answer what it has read, until its work is done; then the
// service closes the socket.
//
// So read in a goroutine of Service.Go, which is waited for. Read until net.ErrClosed, not until its context ends. A
// goroutine of your own may be gone with the process before it has answered. A datagram that was read when its
// generation crashes is lost.
func (s *Service) ListenPacket(network, address string) (net.PacketConn, error) {
	return s.ListenPacketWith(net.ListenConfig{}, network, address)
}

// ListenPacketWith is ListenPacket with the Control of lc, as in ListenWith. It returns an error in the same cases.
func (s *Service) ListenPacketWith(lc net.ListenConfig, network, address string) (net.PacketConn, error) {
	return listenInTime(s, "ListenPacket", s.set.ListenPacketWith, lc, network, address)
}

// reportStartFailure tells the old generation why this one will probably leave: the program may
// exit without a message.
func (s *Service) reportStartFailure(err error) {
	if err != nil {
		s.starter.tell(message{Kind: kindFailed, Reason: reason(err)})
	}
}

// Serve makes srv serve on ln, which is Listen's or one that wraps it, in the background. An error
// of srv.Serve makes Run return it. One srv may serve on several listeners, as in net/http, over
// TLS or not. Serve puts itself around srv's Handler, ConnState, BaseContext and ConnContext, and
// answers Config.PingPath and LivePath. The service calls srv.Close when nothing is left to serve.
// What srv.RegisterOnShutdown was given is called when draining begins.
//
// Handlers that go on for ever learn from Context that they should end. So do those that hijack
// their connection, which is waited for until it is closed. HTTP/2 ends with a GOAWAY that loses
// nothing, see listener.Set.Leave. For TLS there is ServeTLS.
//
// Connections that ln wraps in a type of its own, as a limiter or the PROXY protocol does, are
// closed after Config.IdleGrace. They are handed over only where the wrapper is a struct with the
// net.Conn that it embeds and nothing else, or has a method Movable() bool that returns true. The
// next generation's ln wraps them again.
//
// What ln has accepted and not returned yet is handed over if its client has said nothing. It is
// closed after Config.IdleGrace if that has said a part of a PROXY header, of a handshake or of a
// request's head.
func (s *Service) Serve(ln net.Listener, srv *http.Server) {
	s.servers.Lock()
	s.prepare(srv)
	s.servers.Unlock()
	s.serve(server{srv, ln, nil}, ln)
}

// Track is Serve for an http.Server that a framework runs: it calls srv.Serve or srv.ServeTLS itself, on what Listen
// has returned or a listener that wraps it. Track must be called before that. The framework may still set srv's
// Handler, ConnState and ConnContext, but not its BaseContext. A second call changes nothing, nor does one for a server
// that was given to Serve.
//
// srv must begin to serve before Run or soon after, in a goroutine: where it has not after 5s, Run fails. When draining
// begins, srv.Serve returns net.ErrClosed as the listener is closed, and the program goes on until Run returns. Nobody
// may call srv.Shutdown meanwhile: it drops requests that are on their way. The service calls srv.Close at the end.
//
// The service learns of no error of srv.Serve: Fail is for those. The certificates of ServeTLS are not reloaded, and no
// session tickets go to the next generation: TLSConfig is for that. With Go 1.27 and later, HTTP/2 that srv speaks ends
// as net/http ends it, which the log says.
func (s *Service) Track(srv *http.Server) {
	s.servers.Lock()
	defer s.servers.Unlock()
	if s.servers.known[srv] {
		return
	}
	s.servers.keepContexts(srv)
	began := make(chan struct{})
	s.servers.foreign = append(s.servers.foreign, foreignServer{srv, began})
	once, base := sync.OnceFunc(func() { close(began) }), srv.BaseContext
	srv.BaseContext = func(ln net.Listener) context.Context {
		s.servers.add(server{srv, ln, nil})
		once()
		if base != nil {
			return base(ln)
		}
		return context.Background()
	}
	s.track(srv)
	begin, served := sync.OnceFunc(func() { s.servers.keepConnContext(srv) }), srv.BaseContext
	srv.BaseContext = func(ln net.Listener) context.Context {
		begin() // before the set puts itself around what the framework has set by now
		return served(ln)
	}
}

// prepare does with srv, once, what must be done before it serves. The caller holds s.servers.
func (s *Service) prepare(srv *http.Server) {
	if s.servers.known[srv] {
		return
	}
	s.servers.keepContexts(srv)
	s.track(srv)
	_ = s.set.Serve(srv, closedListener{}) // net/http's own changes of srv are made, and the set's
}

// track makes the service known to srv, and srv to the set.
func (s *Service) track(srv *http.Server) {
	s.servers.known[srv] = true
	s.injectService(srv)
	s.set.Track(srv, func(h http.Handler) http.Handler {
		s.warnOfShadows(h)
		return s.withHealthPaths(h)
	})
}

// closedListener is a listener without clients.
type closedListener struct{ net.Listener }

func (closedListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (closedListener) Close() error              { return nil }
func (closedListener) Addr() net.Addr            { return &net.TCPAddr{} }

// serve makes the server serve on ln.
func (s *Service) serve(srv server, ln net.Listener) {
	if !s.servers.add(srv) {
		_ = ln.Close()
		return
	}
	go func() {
		s.ended(ln, s.set.Serve(srv.Server, ln))
	}()
}

// ended is told that a server is. One that has been closed, or whose listener has by the drain, has not failed.
func (s *Service) ended(ln net.Listener, err error) {
	if !errors.Is(err, http.ErrServerClosed) {
		s.run.post(machine.ServerFailed{Err: fmt.Errorf("drain: serve %v: %w", ln.Addr(), err)})
	}
}

// withHealthPaths answers probes. While pulled, it tells the health package of requests that are no probes.
func (s *Service) withHealthPaths(next http.Handler) http.Handler {
	ping, live := s.cfg.PingPath, s.cfg.LivePath
	alive := s.health.Live()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case path != ping && path != live || !health.IsProbe(r.Method):
		default:
			listener.Aside(r.Context())
			probes := alive
			if path == ping {
				probes = s.health
			}
			probes.ServeHTTP(w, r)
			return
		}
		if s.health.Pulled() && !s.mounted.at(r) {
			s.health.Visited(r.RemoteAddr)
			// 0: nothing is known of the connection. That of a forwarded request is older than this generation.
			if listener.Requests(r.Context()) <= 1 && !forward.Is(r.Context()) {
				s.health.Arrived()
			}
		}
		if r.Method == "PRI" { // which net/http answers itself where http.Server.Protocols has it
			s.run.estate.warnOfH2C()
		}
		s.servers.gate.Serve(next, w, r)
	})
}
