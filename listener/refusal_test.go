//go:build unix

package listener

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// descriptors is how many this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	if r, w, err := os.Pipe(); err == nil { // the first makes Go's poller open two descriptors that stay
		_, _ = r.Close(), w.Close()
	}
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} {
		if list, err := os.ReadDir(dir); err == nil {
			return len(list)
		}
	}
	t.Skip("no list of descriptors")
	return 0
}

// crowd dials n clients and leaves each with an idle connection.
func crowd(t testing.TB, g *generation, n int) []*client {
	t.Helper()
	var clients []*client
	for range n {
		c := dial(t, g)
		c.ask("a")
		clients = append(clients, c)
	}
	g.await(t, "not idle", func(c Counts) bool { return c.Idle == n })
	return clients
}

// moved tells which clients are answered by the second generation; the others get their last answer from the first.
func moved(t testing.TB, clients []*client) (n int) {
	t.Helper()
	for _, c := range clients {
		c.send(post("b"))
		resp, err := http.ReadResponse(c.br, nil)
		check(t, err)
		_ = resp.Body.Close()
		switch by := resp.Header.Get("X-Generation"); {
		case by == "2" && !resp.Close:
			n++
		case by == "1" && resp.Close:
		default:
			t.Errorf("generation %s, close %v", by, resp.Close)
		}
	}
	return n
}

// What the other side doesn't take, or can't, stays, is served, and is closed with a grace.
func TestRefusedConnectionsStay(t *testing.T) {
	const n = 10
	broken := errors.New("broken")
	for _, x := range []struct {
		name string
		hand func(to Handover) Handover
		want func(moved int) bool
	}{
		{"every second", func(to Handover) Handover {
			i := 0
			var mu sync.Mutex
			return func(tickets []Ticket, conns []syscall.Conn) ([]bool, error) {
				mu.Lock()
				defer mu.Unlock()
				took := make([]bool, len(tickets))
				for j := range tickets {
					if i++; i%2 == 0 {
						one, err := to(tickets[j:j+1], conns[j:j+1])
						if err != nil {
							return nil, err
						}
						took[j] = one[0]
					}
				}
				return took, nil
			}
		}, func(m int) bool { return m == n/2 }},
		{"all", func(Handover) Handover {
			return func(t []Ticket, _ []syscall.Conn) ([]bool, error) { return make([]bool, len(t)), nil }
		}, func(m int) bool { return m == 0 }},
		{"no answer", func(Handover) Handover {
			return func([]Ticket, []syscall.Conn) ([]bool, error) { return nil, nil }
		}, func(m int) bool { return m == 0 }},
		{"too long an answer", func(to Handover) Handover {
			return func(t []Ticket, c []syscall.Conn) ([]bool, error) {
				took, err := to(t, c)
				return append(took, true, true), err
			}
		}, func(m int) bool { return m == n }},
		{"error", func(Handover) Handover {
			return func(t []Ticket, _ []syscall.Conn) ([]bool, error) { return make([]bool, len(t)), broken }
		}, func(m int) bool { return m == 0 }},
		{"another spelling", func(to Handover) Handover {
			return func(tickets []Ticket, c []syscall.Conn) ([]bool, error) {
				for i := range tickets {
					tickets[i].Listener = "tcp elsewhere:1"
				}
				return to(tickets, c)
			}
		}, func(m int) bool { return m == n }},
		{"no such listener", func(Handover) Handover {
			other := &generation{set: New(Config{})}
			t.Cleanup(func() { other.set.Close() })
			mustListen(t, other.set, "tcp", "127.0.0.2:0")
			mustListen(t, other.set, "unix", "@"+t.Name())
			return other.handTo(other)
		}, func(m int) bool { return m == 0 }},
	} {
		t.Run(x.name, func(t *testing.T) {
			one := next(t, nil, &http.Server{})
			clients := crowd(t, one, n)
			two := next(t, one, &http.Server{})
			before := descriptors(t)
			wait := one.depart(t, x.hand(one.handTo(two)), time.Hour)
			one.await(t, "not all were offered", func(c Counts) bool { return allSettled(one) })
			m := moved(t, clients)
			wait()
			if !x.want(m) {
				t.Errorf("%d moved", m)
			}
			if c := one.set.Counts(); int(c.Moved) != m || c.Lost != 0 || int(two.set.Counts().Adopted) != m {
				t.Errorf("%d moved: %+v, %+v", m, c, two.set.Counts())
			}
			two.await(t, "descriptors leak", func(Counts) bool { return descriptors(t) <= before })
		})
	}
}

// allSettled: every connection of g has gone or knows that it won't.
func allSettled(g *generation) bool {
	for _, c := range g.set.all() {
		c.mu.Lock()
		settled := c.closing.notBefore != 0
		c.mu.Unlock()
		if !settled {
			return false
		}
	}
	return true
}

func garbage(t testing.TB) (files []*os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	check(t, err)
	plain, err := os.Create(filepath.Join(t.TempDir(), "file"))
	check(t, err)
	files = append(files, r, w, plain)
	ln := mustOpen(t, "tcp", "127.0.0.1:0")
	uln := mustOpen(t, "unix", filepath.Join(t.TempDir(), "s"))
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	check(t, err)
	ugram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "g"), Net: "unixgram"})
	check(t, err)
	for _, x := range []interface{ File() (*os.File, error) }{ln.(*net.TCPListener), uln.(*net.UnixListener),
		udp.(*net.UDPConn), ugram} {
		f, err := x.File()
		check(t, err)
		files = append(files, f)
		_ = x.(interface{ Close() error }).Close()
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0)
	check(t, err)
	closed, _ := os.Open(os.DevNull)
	_ = closed.Close()
	return append(files, os.NewFile(uintptr(pair[0]), "a"), os.NewFile(uintptr(pair[1]), "b"), closed)
}

func TestAdoptRefusesWhatIsNoConnection(t *testing.T) {
	one := next(t, nil, &http.Server{})
	before := descriptors(t)
	files := garbage(t)
	tickets := make([]Ticket, len(files))
	for i := range tickets {
		tickets[i] = Ticket{Listener: one.ln.(*socket).key, Idle: true}
	}
	if err := one.set.Adopt(tickets, files, func(took []bool) error {
		if len(took) != len(tickets) {
			t.Errorf("%d answers to %d tickets", len(took), len(tickets))
		}
		for i, ok := range took {
			if ok {
				t.Errorf("took file %d, %s", i, files[i].Name())
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	one.await(t, "descriptors leak", func(n Counts) bool { return n.Open() == 0 && descriptors(t) <= before })
}

func TestAdoptWithAnotherNumberOfFiles(t *testing.T) {
	one := next(t, nil, &http.Server{})
	key := one.ln.(*socket).key
	before := descriptors(t)
	for _, x := range []struct{ tickets, files int }{{3, 1}, {1, 3}, {0, 2}, {2, 0}, {0, 0}} {
		var files []*os.File
		var near []*os.File
		for range x.files {
			pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			check(t, err)
			files = append(files, os.NewFile(uintptr(pair[0]), "far"))
			near = append(near, os.NewFile(uintptr(pair[1]), "near"))
		}
		tickets := make([]Ticket, x.tickets)
		for i := range tickets {
			tickets[i].Listener = key
		}
		if err := one.set.Adopt(tickets, files, func(took []bool) error {
			for i := range x.tickets {
				if took[i] != (i < x.files) {
					t.Errorf("%+v: took %v", x, took)
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		for _, f := range near {
			_ = f.Close()
		}
	}
	one.await(t, "descriptors leak", func(n Counts) bool { return n.Open() == 0 && descriptors(t) <= before })
}

// An error of ack says that the other side is gone: the connections are nobody else's.
func TestAdoptKeepsWhatItCouldNotAcknowledge(t *testing.T) {
	gone := errors.New("gone")
	two := next(t, nil, &http.Server{Handler: echo(2)})
	cl, far := pair(t)
	tickets := []Ticket{{Listener: two.ln.(*socket).key}}
	if err := two.set.Adopt(tickets, dups(t, []syscall.Conn{far}),
		func([]bool) error { return gone }); !errors.Is(err, gone) {
		t.Error(err)
	}
	_ = far.Close()
	cl.ask("a")
}

func TestClosedSetAdoptsNothing(t *testing.T) {
	two := next(t, nil, &http.Server{})
	key := two.ln.(*socket).key
	two.set.Close()
	before := descriptors(t)
	_, far := pair(t)
	_ = two.set.Adopt([]Ticket{{Listener: key}}, dups(t, []syscall.Conn{far}), func(took []bool) error {
		if took[0] {
			t.Error("taken")
		}
		return nil
	})
	if n := descriptors(t); n > before+2 {
		t.Errorf("%d descriptors, then %d", before, n)
	}
}

func TestAdoptLeaveAndCloseAtOnce(t *testing.T) {
	before := descriptors(t)
	for range 10 {
		one := next(t, nil, &http.Server{})
		clients := crowd(t, one, 20)
		two := next(t, one, &http.Server{})
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = one.set.Leave(ctx, one.handTo(two), 0) })
		wg.Go(func() { _ = two.set.Leave(ctx, nil, 0) })
		wg.Go(func() { one.set.Close() })
		wg.Go(func() { two.set.Close() })
		wg.Go(func() { one.set.Counts(); two.set.Open(); _, _ = two.set.Dial(two.ln) })
		ends(t, "Adopt, Leave and Close", wg.Wait)
		cancel()
		one.await(t, "still open", func(n Counts) bool { return n.Open() == 0 })
		for _, c := range clients {
			_ = c.nc.Close()
		}
		two.await(t, "still open", func(n Counts) bool { return n.Open() == 0 })
	}
	(&generation{set: New(Config{})}).await(t, "descriptors leak", func(Counts) bool {
		return descriptors(t) <= before
	})
}
