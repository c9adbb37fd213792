//go:build unix

package listener

import (
	"bufio"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudflare/tableflip"
)

func mustListen(t testing.TB, set *Set, network, address string) net.Listener {
	t.Helper()
	ln, err := set.Listen(network, address)
	check(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func TestAcceptReturnsWhatIsQueuedAlsoAfterClose(t *testing.T) {
	set := New(Config{})
	ln := mustListen(t, set, "tcp", "127.0.0.1:0")
	for range 3 {
		if _, err := set.Dial(ln); err != nil {
			t.Fatal(err)
		}
	}
	_ = ln.Close()
	for range 3 {
		nc, err := ln.Accept()
		check(t, err)
		_ = nc.Close()
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := set.Dial(ln); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
}

func TestDialReachesTheServerWhileOutsideWaits(t *testing.T) {
	set := New(Config{})
	ln := mustListen(t, set, "tcp", "127.0.0.1:0")
	g := &generation{set: set, ln: ln, srv: &http.Server{Handler: echo(1)}}
	set.Track(g.srv)
	go func() { _ = g.srv.Serve(ln) }()
	defer g.srv.Close()
	outside := dial(t, g)
	outside.send(post("outside"))
	for range 3 {
		near, err := set.Dial(ln)
		check(t, err)
		inside := &client{t: t, nc: near, br: bufio.NewReader(near)}
		inside.ask("inside")
		_ = near.Close()
	}
	g.await(t, "not closed", func(n Counts) bool { return n.Open() == 0 }) // the one from outside is not here
	set.Open()
	outside.want("outside")
	if _, err := New(Config{}).Dial(ln); err == nil {
		t.Error("another set's listener was dialled")
	}
}

// A client that the kernel has connected, and that nobody has accepted, when the last process closes.
func TestLastCloseServesTheQueueOfTheKernel(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "s")
		}
		set := New(Config{})
		ln := mustListen(t, set, network, address)
		g := &generation{set: set, ln: ln, srv: &http.Server{Handler: echo(1)}}
		set.Track(g.srv)
		set.Open()
		defer g.srv.Close()
		var clients []*client
		for range 20 { // nobody accepts yet
			nc := dialTo(t, ln.Addr())
			clients = append(clients, &client{t: t, nc: nc, br: bufio.NewReader(nc)})
			clients[len(clients)-1].send(post("a"))
		}
		wait := g.depart(t, nil, 0)
		go func() { _ = g.srv.Serve(ln) }()
		for _, c := range clients {
			c.wantLast("a")
		}
		wait()
	}
}

// Close takes away the socket from an Accept that is about to return a connection; Leave waits for that one.
func TestConnectionInTheHandOfAcceptIsSeen(t *testing.T) {
	t.Parallel()
	for range 300 {
		set := New(Config{})
		ln := mustListen(t, set, "tcp", "127.0.0.1:0")
		set.Open()
		g := &generation{set: set, ln: ln}
		accepted := make(chan net.Conn, 100)
		go func() {
			defer close(accepted)
			for {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				accepted <- nc
				_ = nc.Close()
			}
		}()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				// Whose handshake is dropped would try again a second later.
				if nc, err := net.DialTimeout("tcp", ln.Addr().String(), 10*time.Millisecond); err == nil {
					_ = nc.Close()
				}
			})
		}
		g.depart(t, nil, 0)()
		n := 0
		if open := set.Counts().Open(); open != 0 {
			t.Errorf("left, with %d connections", open)
		}
		for range accepted {
			n++
		}
		wg.Wait()
	}
}

func TestUnixSocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	check(t, err)
	stale.SetUnlinkOnClose(false)
	if _, err := New(Config{}).Listen("unix", path); !errors.Is(err, syscall.EADDRINUSE) ||
		!strings.Contains(err.Error(), "process") {
		t.Errorf("living socket: %v", err)
	}
	_ = stale.Close()
	ln := mustListen(t, New(Config{}), "unix", path)
	go func() {
		if nc, err := ln.Accept(); err == nil {
			_ = nc.Close()
		}
	}()
	check(t, os.WriteFile(path+"file", nil, 0o600))
	if _, err := New(Config{}).Listen("unix", path+"file"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a file: %v", err)
	}
	if _, err := os.Stat(path + "file"); err != nil {
		t.Errorf("a user's file was removed: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "link")
	check(t, os.Symlink(path, dir))
	if _, err := New(Config{}).Listen("unix", dir); err == nil {
		t.Error("a link was replaced")
	}
}

func TestListenSaysWhatIsWrongAndWhatHelps(t *testing.T) {
	busy := mustOpen(t, "tcp", "127.0.0.1:0")
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	for _, x := range []struct {
		network, address string
		is               error
		says             string
	}{
		{"unix", file, syscall.EADDRINUSE, "use another path"},
		{"unix", filepath.Dir(file), syscall.EADDRINUSE, "use another path"},
		{"tcp", busy.Addr().String(), syscall.EADDRINUSE, "the address"},
		{"tcp", "192.0.2.1:0", syscall.EADDRNOTAVAIL, "no interface of this machine"},
		{"unix", "/nonexistent/s", fs.ErrNotExist, "create the folder"},
		{"tcp", "8080", nil, "want host:port"},
		{"tcp", "127.0.0.1:notaport", nil, "notaport"},
		{"unixgram", "/tmp/x", nil, "want tcp, tcp4, tcp6, unix or fd"},
		{"udp", ":0", nil, "want tcp, tcp4, tcp6, unix or fd"},
		{"", ":0", nil, "want tcp, tcp4, tcp6, unix or fd"},
		{"unix", "/" + strings.Repeat("x", 200), syscall.EINVAL, "use a shorter one"},
	} {
		for _, fds := range []Fds{nil, flipFds()} {
			ln, err := New(Config{Fds: fds}).Listen(x.network, x.address)
			if err == nil {
				_ = ln.Close()
				t.Errorf("%s %s: no error", x.network, x.address)
				continue
			}
			if x.is != nil && !errors.Is(err, x.is) || !strings.Contains(err.Error(), x.says) ||
				!strings.HasPrefix(err.Error(), "listener: ") {
				t.Errorf("%s %s: %v", x.network, x.address, err)
			}
		}
	}
	for is, says := range map[syscall.Errno]string{
		syscall.EACCES: "CAP_NET_BIND_SERVICE", syscall.EMFILE: "LimitNOFILE=",
	} {
		err := explain("tcp", ":80", &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", is)})
		if !strings.Contains(err.Error(), says) {
			t.Error(err)
		}
	}
	if _, err := New(Config{}).ListenPacket("tcp", ":0"); err == nil || !strings.Contains(err.Error(), "want udp") {
		t.Error(err)
	}
}

// flipFds is the only one that this process may have.
var flipFds = sync.OnceValue(func() *tableflip.Fds {
	upg, err := tableflip.New(tableflip.Options{})
	if err != nil {
		panic(err)
	}
	return upg.Fds
})

func TestListenTwice(t *testing.T) {
	set := New(Config{})
	ln := mustListen(t, set, "tcp", "127.0.0.1:0")
	_, err := set.Listen("tcp", "127.0.0.1:0")
	if err == nil || !strings.Contains(err.Error(), "listens there already") {
		t.Error(err)
	}
	_ = ln.Close()
	if len(set.Listeners()) != 0 {
		t.Error(set.Listeners())
	}
	mustListen(t, set, "tcp", "127.0.0.1:0")
	pc, err := set.ListenPacket("udp", "127.0.0.1:0")
	check(t, err)
	set.Close()
	if _, err := pc.WriteTo(nil, pc.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	for _, f := range []func() error{
		func() error { _, err := set.Listen("tcp", "127.0.0.1:0"); return err },
		func() error { _, err := set.ListenPacket("udp", "127.0.0.1:0"); return err },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), "leaving") {
			t.Error(err)
		}
	}
}

// Leave returns at once where there is nothing, whatever the grace.
func TestNothingToLeave(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Hour, -time.Second} {
		g := next(t, nil, &http.Server{})
		clients := crowd(t, g, 2)
		for _, c := range clients {
			_ = c.nc.Close()
		}
		g.depart(t, nil, grace)()
	}
}
