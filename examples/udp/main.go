// Command udp is a small datagram service that is swapped and stopped without
// losing a datagram that has reached the machine: it answers each with its own
// text, behind the pid of the process that has read it. Copy it and put in
// your own answer.
//
//	go build -o app ./udp && ./app -pidfile app.pid
//
// kill -HUP swaps the binary: the socket and what is queued in it pass on to
// the next process, and one process at a time reads. kill -TERM stops the
// service, which answers what is queued before it exits with 0. With -control,
// -s reload and -s stop do the same and return when it is done.
//
// With -unixgram it answers on a unix datagram socket too; who wants an answer
// binds a socket of its own there. Each flag but -s can come from the
// environment: -drain-timeout as APP_DRAIN_TIMEOUT.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

var (
	addr     = flag.String("addr", "127.0.0.1:8080", "answer datagrams on this UDP `host:port`")
	unixgram = flag.String("unixgram", "", "answer on this unix datagram `socket` too")
)

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	if err := listen(svc, "udp", *addr); err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	if *unixgram != "" {
		if err := listen(svc, "unixgram", *unixgram); err != nil {
			return fmt.Errorf("-unixgram: %w", err)
		}
	}
	return svc.Run(context.Background())
}

// listen makes the answering the service's work, which a swap or a stop waits for.
func listen(svc *drain.Service, network, address string) error {
	pc, err := svc.ListenPacket(network, address)
	if err != nil {
		return err
	}
	return svc.Go(network, func(context.Context) { answer(pc) })
}

// answer goes on until reads end, which they do when the next process begins to
// read or, in a stop, when nothing is queued any more. The context of svc.Go
// may end before that: a loop that went by it would leave the queue unread.
func answer(pc net.PacketConn) {
	pid := os.Getpid()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := pc.ReadFrom(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			slog.Warn("read", "err", err)
			continue
		case from == nil: // a unix socket without a name: nowhere to answer to
			continue
		}
		if _, err := pc.WriteTo(fmt.Appendf(nil, "%d %s", pid, buf[:n]), from); err != nil {
			slog.Warn("answer", "to", from, "err", err)
		}
	}
}
