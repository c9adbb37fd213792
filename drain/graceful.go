package drain

import (
	"context"
	"net"
)

// GracefulServer is a server that knows how its connections end; *grpc.Server is one. So is a server of HTTP/1.1 of
// another package than net/http, or in a framework's hands, with its Shutdown as GracefulStop.
type GracefulServer interface {
	// Serve accepts connections until Accept returns an error.
	Serve(ln net.Listener) error
	// GracefulStop tells the clients to go elsewhere, answers what they have begun, and returns when all of it is over
	// and each connection closed. It may close connections that Accept has returned and that it has not touched yet.
	GracefulStop()
}

// ServeGraceful makes srv serve on ln, which is Listen's or one that wraps it, in the background. An error of srv.Serve
// makes Run return it. When draining begins, the service closes ln, so that srv.Serve returns with
// net.ErrClosed. When it has, and srv has begun with each connection that was accepted, the service calls
// srv.GracefulStop. It waits for that until Config.DrainTimeout, which closes the connections that are left. Do not
// call a Stop of srv before: it would cut requests off, and no log line would say so.
//
// Where srv speaks HTTP/1, plain or over TLS that ln takes off, the service follows the requests and answers. Then the
// connections leave as those of Serve do, whatever srv is. In a swap those at rest are handed over; in a stop they are
// closed after Config.IdleGrace, and an answer says that it is the last. GracefulStop is called when that is over, or
// after twice Config.IdleGrace or half of Config.DrainTimeout, whichever is less. The service does not answer
// Config.PingPath there: mount Health in srv's routes. An http.Server that speaks TLS itself loses requests in its
// Shutdown, which the log says: Track is for that.
//
// Other connections count as "other" and are not handed over. A client that is silent from the beginning holds
// grpc.Server's GracefulStop up for grpc.ConnectionTimeout, which is 120s: set it well below Config.DrainTimeout.
// Streams that end when their client does are to be told, by Draining. The self-check knows nothing of the protocol:
// Config.Check can ask, by its client or through Dial.
func (s *Service) ServeGraceful(ln net.Listener, srv GracefulServer) {
	if isClosed(s.run.ended) {
		_ = ln.Close()
		return
	}
	s.servers.Lock()
	s.servers.graceful = append(s.servers.graceful, server{ln: ln})
	s.servers.Unlock()
	followed, served := s.set.Follow(ln), make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(followed); err != nil { // or the program itself has stopped it
			s.ended(ln, err)
		}
	}()
	err := s.Go("server on "+ln.Addr().String(), func(context.Context) {
		<-s.DrainStarted()
		<-served
		ctx, cancel := context.WithTimeout(context.Background(), min(2*s.cfg.idleGrace(true), s.cfg.DrainTimeout/2))
		defer cancel()
		followed.Await(ctx)
		srv.GracefulStop()
	})
	if err != nil {
		_ = ln.Close()
	}
}

// Dial connects to ln inside this process: the Accept of ln returns the other end, also while nothing is accepted from
// outside. Listen has returned ln, or ln wraps such a listener and has its Addr. Dial is for a Config.Check of what its
// client does not speak.
//
// Dial returns an error for any other listener, and net.ErrClosed for one that is closed. The caller closes the
// connection.
func (s *Service) Dial(ln net.Listener) (net.Conn, error) { return s.set.Dial(ln) }
