package main

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// server serves QUIC connections until they end.
type server struct {
	svc     *drain.Service
	handler http.Handler
	rest    time.Duration  // for which a connection has no request when it is told to go
	open    sync.WaitGroup // connections, those in their handshake too
}

// count is called with the first packet of a connection. Its context ends with the connection.
func (s *server) count(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	s.open.Add(1)
	context.AfterFunc(ctx, s.open.Done)
	return ctx, nil
}

// run returns when this process is to leave and no connection is left.
func (s *server) run(conns *quic.Listener) {
	go func() {
		for {
			conn, err := conns.Accept(context.Background())
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	<-s.svc.DrainStarted()
	time.Sleep(100 * time.Millisecond) // what was read last is counted by then
	s.open.Wait()
}

// session is a connection. It has an http3.Server of its own, so that it can be told to go at a moment of its own.
type session struct {
	http3.Server
	conn    *quic.Conn
	running atomic.Int32 // requests
	leave   func()       // sends GOAWAY, once
}

func (s *server) serve(conn *quic.Conn) {
	c := &session{conn: conn}
	c.leave = sync.OnceFunc(func() { go c.Shutdown(conn.Context()) })
	c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.running.Add(1)
		defer c.running.Add(-1)
		s.handler.ServeHTTP(w, r)
		select {
		case <-s.svc.DrainStarted():
			// Quic-go sends one GOAWAY, and rejects the requests that cross it. Its client has none on the way
			// while it waits for its only answer, and so should know before it has that.
			c.leave()
			time.Sleep(20 * time.Millisecond)
		default:
		}
	})
	go s.end(c)
	_ = c.ServeQUICConn(conn)
}

// end ends a connection when this process is to leave.
func (s *server) end(c *session) {
	over := c.conn.Context().Done()
	select {
	case <-s.svc.DrainStarted():
	case <-over:
		return
	}
	select {
	case <-time.After(s.rest):
	case <-over:
		return
	}
	if st := s.svc.Status(); st.LastSwap != nil && st.LastSwap.Generation > st.Generation && st.LastSwap.Err == "" {
		c.leave()
		for c.running.Load() > 0 {
			time.Sleep(50 * time.Millisecond)
		}
		select {
		case <-time.After(min(10*s.rest, time.Until(st.Deadline)/2)): // its client should, when it has had everything
		case <-over:
			return
		}
	}
	_ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") // in a stop nothing is read any more
}
