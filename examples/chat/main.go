// Command chat is a chat on plain TCP whose users stay connected while its
// binary is swapped: who they are, where they are, and half a line that they
// have typed go along with the connection.
//
//	go build -o app ./chat && ./app -addr 127.0.0.1:7000 -pidfile app.pid
//	nc 127.0.0.1 7000
//
// The first line is a name. "/join room" and "/quit" are commands, and all
// else is said to everybody in the room. kill -HUP swaps the binary, and -TERM
// stops it: the users are told then. The rest is as in examples/nethttp.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

// version tells the builds apart: go build -ldflags "-X main.version=v2".
var version = "dev"

var addr = flag.String("addr", "127.0.0.1:7000", "listen on this `host:port`")

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("version", version))

	h := &hall{users: make(map[*user]bool), open: make(chan struct{}), left: make(chan struct{})}
	changed := make(chan struct{}, 1)
	cfg.Adopt = h.adopt
	cfg.OnEvent = func(drain.Event) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	h.handOver = svc.HandOver
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	go func() {
		for {
			nc, err := ln.Accept()
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil: // out of descriptors, most likely
				slog.Warn("accept", "err", err)
				time.Sleep(10 * time.Millisecond)
			default:
				h.enter(&user{conn: nc, state: state{Out: []byte("What is your name?\n")}})
			}
		}
	}()
	leave := svc.DrainStarted()
	err = svc.Go("chat", func(context.Context) {
		for len(svc.Status().Older) > 0 {
			select {
			case <-changed:
				continue
			case <-leave:
			}
			break
		}
		select {
		case <-leave:
		default:
			close(h.open)
			<-leave
		}
		h.leave()
	})
	if err != nil {
		return err
	}
	return svc.Run(context.Background())
}
