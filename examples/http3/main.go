// Command http3 is a service over HTTP/3, and over HTTP/1.1 and HTTP/2, which say where HTTP/3 is. No QUIC connection
// moves in a swap: the old process finishes what it has begun, and tells its clients to come back, to the new one.
// Copy it and put in your own handler.
//
//	go build -o app ./http3 && ./app -cert cert.pem -key key.pem -pidfile app.pid
//
// All processes share one UDP socket, and the newest alone reads from it. Each writes its mark into the connection IDs
// that it chooses, and has a unix socket of that name in the folder -peers. So the newest knows whose a packet is: see
// socket.go. A process that is gone gets no packets, and its connections time out. Windows has no such sockets.
//
// Signals, -s and the environment are as in examples/gin. A stop reads no more packets: it answers what it has read, if
// that takes no longer than -idle-grace (2s), and cuts off uploads and long downloads of HTTP/3.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

var (
	addr  = flag.String("addr", "127.0.0.1:8443", "listen on this `host:port`, of TCP and of UDP")
	cert  = flag.String("cert", "cert.pem", "the PEM `file` with the certificate")
	key   = flag.String("key", "key.pem", "the PEM `file` with the key of -cert")
	peers = flag.String("peers", "http3.peers", "the `folder` of the sockets by which processes pass packets on")
)

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	handler := routes()
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	over := &http.Server{ReadHeaderTimeout: 10 * time.Second}
	over.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", fmt.Sprintf(`h3=":%s"`, port))
		handler.ServeHTTP(w, r)
	})
	if err := svc.ServeTLS(ln, over, *cert, *key); err != nil {
		return fmt.Errorf("-cert and -key: %w", err)
	}
	config, err := svc.TLSConfig(ln, nil, *cert, *key) // so sessions resume after a swap, over QUIC too
	if err != nil {
		return fmt.Errorf("-cert and -key: %w", err)
	}
	pc, err := svc.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	shared, err := newSocket(pc.(udpConn), *peers)
	if err != nil {
		return fmt.Errorf("-peers: %w", err)
	}
	defer shared.forget()
	s := &server{svc: svc, handler: handler, rest: cmp.Or(cfg.IdleGrace, 2*time.Second)}
	transport := &quic.Transport{Conn: shared, ConnectionIDGenerator: shared, ConnContext: s.count}
	conns, err := transport.Listen(http3.ConfigureTLSConfig(config), nil)
	if err != nil {
		return err
	}
	if err := svc.Go("HTTP/3", func(context.Context) { s.run(conns) }); err != nil {
		return err
	}
	return svc.Run(context.Background())
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	return mux
}
