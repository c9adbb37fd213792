// Command grpc is a gRPC service that is swapped, pulled and stopped without
// losing a call. Copy it and put in your own services.
//
//	go build -o app ./grpc && ./app -pidfile app.pid
//
// kill -HUP swaps the binary, -USR2 pulls the node out of its load balancer,
// -USR1 puts it back and -TERM stops it, or see -s. It exits with 0 after a
// clean stop, with 1 otherwise, and with 2 when a flag is wrong.
//
// Clients see a GOAWAY, as they do from any gRPC server that limits the age of
// its connections, and go on over a new connection. Balancers and clients that
// check health, by Check or Watch of grpc.health.v1.Health, are told to go
// elsewhere by a pull, which lasts until they have been.
//
// Each flag but -s can come from the environment: -pull-max as APP_PULL_MAX.
// A flag on the command line counts more.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

// version tells the builds apart: go build -ldflags "-X main.version=v2".
var version = "dev"

var (
	addr      = flag.String("addr", "127.0.0.1:9090", "listen on this `host:port`")
	ping      = flag.String("ping", "", "for probers that speak HTTP: answer /ping and /livez on this `host:port`")
	cert      = flag.String("cert", "", "speak TLS with the certificate in this PEM `file`")
	key       = flag.String("key", "", "the PEM `file` with the key of -cert")
	handshake = flag.Duration("handshake", 10*time.Second,
		"how long a client may take to connect, TLS included: "+
			"a stop waits that long for a port scan; less than -drain-timeout")
	work = flag.Duration("work", 0, "how long a call of Say takes")
)

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	// Two generations write to the same log: the version tells whose line it is.
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("version", version))
	cfg.Version = version

	var (
		svc    *drain.Service
		ln     net.Listener
		err    error
		client = insecure.NewCredentials()
		status = health.NewServer() // SERVING from the beginning
	)
	cfg.Leave = func(context.Context) error { status.Shutdown(); return nil } // at each pull
	cfg.Join = func(context.Context) error { status.Resume(); return nil }    // after a restore
	cfg.Check = func(ctx context.Context, _ *http.Client) error {
		return check(ctx, client, func(context.Context, string) (net.Conn, error) { return svc.Dial(ln) })
	}
	if svc, err = drain.New(cfg); err != nil {
		return err
	}
	if ln, err = svc.Listen("tcp", *addr); err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	server := insecure.NewCredentials()
	if *cert != "" || *key != "" {
		config, err := svc.TLSConfig(ln, &tls.Config{NextProtos: []string{"h2"}}, *cert, *key)
		if err != nil {
			return fmt.Errorf("-cert and -key: %w", err)
		}
		server = credentials.NewTLS(config)
		// to itself, which is another name than the certificate's
		client = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	g := grpc.NewServer(
		grpc.Creds(server),
		grpc.ConnectionTimeout(*handshake),
		grpc.StatsHandler(probes{svc.Health()}),
		grpc.StreamInterceptor(endWatches(svc, *handshake)),
	)
	grpc_health_v1.RegisterHealthServer(g, status)
	g.RegisterService(&echoDesc, &echo{svc: svc, work: *work})
	svc.ServeGraceful(ln, g)

	if *ping != "" {
		ln, err := svc.Listen("tcp", *ping)
		if err != nil {
			return fmt.Errorf("-ping %s: %w", *ping, err)
		}
		svc.Serve(ln, &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: *handshake})
	}
	return svc.Run(context.Background())
}

// check is what a new generation must pass before it takes over.
func check(ctx context.Context, creds credentials.TransportCredentials,
	dial func(context.Context, string) (net.Conn, error)) error {
	cc, err := grpc.NewClient("passthrough:///self", grpc.WithTransportCredentials(creds), grpc.WithContextDialer(dial))
	if err != nil {
		return err
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err := grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil && res.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		err = fmt.Errorf("its health service answers %v", res.Status)
	}
	return err
}
