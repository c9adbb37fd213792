//go:build unix

package drain_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func (g *gen) listenConfig() net.ListenConfig {
	lc := net.ListenConfig{KeepAlive: g.KeepAlive, KeepAliveConfig: g.Keep}
	if g.Shares {
		lc.Control = func(network, address string, rc syscall.RawConn) error {
			g.note("control %s", network)
			return rc.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			})
		}
	}
	return lc
}

type connKey struct{}

func withConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// options says what options the listener and the connection of a request have. With set, it changes one before.
func (g *gen) options(w http.ResponseWriter, r *http.Request) {
	nc := r.Context().Value(connKey{}).(net.Conn)
	for u, ok := nc.(interface{ NetConn() net.Conn }); ok; u, ok = nc.(interface{ NetConn() net.Conn }) {
		nc = u.NetConn()
	}
	tc := nc.(*net.TCPConn)
	if r.FormValue("set") != "" {
		_ = tc.SetNoDelay(false)
	}
	option := func(of any, level, name int) (n int) {
		rc, err := of.(syscall.Conn).SyscallConn()
		if err == nil {
			_ = rc.Control(func(fd uintptr) { n, _ = unix.GetsockoptInt(int(fd), level, name) })
		}
		return n
	}
	keep := [3]int{option(tc, unix.SOL_SOCKET, unix.SO_KEEPALIVE)}
	if keep[0] != 0 {
		keep[1], keep[2] = option(tc, unix.IPPROTO_TCP, keepIdle), option(tc, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)
	}
	_, _ = fmt.Fprint(w, option(g.ln, unix.SOL_SOCKET, unix.SO_REUSEPORT), " ", keep, " ",
		option(tc, unix.IPPROTO_TCP, unix.TCP_NODELAY))
}

// The options of a ListenConfig hold in each generation, after swaps that failed too; so do those of a
// connection that is handed over.
func TestSocketOptionsStayInSwaps(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere package net sets some again")
	}
	type row struct {
		plan plan
		want string
	}
	all := net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 7 * time.Second}
	each(t, map[string]row{
		"none":     {plan{}, "0 [1 15 15]"},
		"shares":   {plan{Shares: true}, "1 [1 15 15]"},
		"off":      {plan{KeepAlive: -1}, "0 [0 0 0]"},
		"a period": {plan{KeepAlive: 70 * time.Second}, "0 [1 70 15]"},
		"all":      {plan{Shares: true, Keep: all}, "1 [1 60 7]"},
	}, func(t *testing.T, c row) {
		s := start(t, c.plan)
		kept, target := s.connect(), "/options?set=1"
		for gen := 1; gen <= 3; gen++ {
			if a := have(kept.ask("GET", target, ""))(t); a.gen != gen || a.body != c.want+" 0" {
				t.Errorf("generation %d, kept: %q; want %q", a.gen, a.body, c.want+" 0")
			}
			if a := s.get("/options"); a.body != c.want+" 1" {
				t.Errorf("generation %d: %q; want %q", a.gen, a.body, c.want+" 1")
			}
			target = "/options" // as it was handed over
			if gen < 3 {
				s.failSwap("check fails")
				old := s.main().PID
				s.swap()
				s.wantAlone(s.another(old))
			}
		}
		s.wantNotes(map[bool]int{true: 1}[c.plan.Shares], 0, "control tcp4")
		s.stop()
	})
}
