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
	"strings"
	"time"

	"github.com/baton-go/baton/drain"
)

// version tells the builds apart: go build -ldflags "-X main.version=v2".
var version = "dev"

func main() {
	if err := run(); err != nil {
		slog.Error("exiting", "err", err)
		os.Exit(1)
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:7000", "listen on this `host:port`")
	pidFile := flag.String("pidfile", "", "keep the pid of the process in charge in this `file`")
	control := flag.String("control", "", "take commands on this unix `socket`; with -s, send one to it")
	command := flag.String("s", "", "send this `command` to the running service and exit: reload, pull, restore, stop or status")
	heartbeat := flag.String("heartbeat", "", "for balancers: a `host:port` that is open while this node is to get users")
	probation := flag.Duration("probation", time.Second, "how long a new generation must live before it takes over")
	drainTimeout := flag.Duration("drain-timeout", 30*time.Second,
		"how long a swap or stop may take to move or end its users")
	flag.VisitAll(fromEnv)
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is no flag: leave it out, or see -help", flag.Arg(0))
	}
	if *command != "" {
		return send(*control, *command)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("version", version))

	h := &hall{users: make(map[*user]bool), open: make(chan struct{}), left: make(chan struct{})}
	changed := make(chan struct{}, 1)
	svc, err := drain.New(drain.Config{
		PIDFile:          *pidFile,
		ControlSocket:    *control,
		HeartbeatAddress: *heartbeat,
		Probation:        *probation,
		DrainTimeout:     *drainTimeout,
		Adopt:            h.adopt,
		OnEvent: func(drain.Event) {
			select {
			case changed <- struct{}{}:
			default:
			}
		},
	})
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

// fromEnv lets one binary go through several environments, as in examples/nethttp.
func fromEnv(f *flag.Flag) {
	name := "APP_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	value := os.Getenv(name)
	if value == "" || f.Name == "s" {
		return
	}
	if err := f.Value.Set(value); err != nil {
		fmt.Fprintf(flag.CommandLine.Output(), "%s is %q, and -%s cannot be that: %v\n", name, value, f.Name, err)
		os.Exit(2)
	}
}

// send tells the running service what to do and returns when that is done.
func send(socket, command string) error {
	if socket == "" {
		return errors.New("-s needs -control, the socket of the running service")
	}
	status, err := drain.Control(context.Background(), socket, command)
	if err == nil && command == "status" {
		_, err = os.Stdout.Write(status)
	}
	return err
}
