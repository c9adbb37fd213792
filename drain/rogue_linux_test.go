package drain

import (
	bigendian "encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/listener"
)

// alone is a Service without a process of its own: what another generation says reaches it, and
// nothing else is there. Set changes what is the loop's, before that begins.
func alone(t testing.TB, phase machine.Phase, set ...func(*runner)) (*Service, net.Listener) {
	t.Helper()
	s, err := configure(Config{
		PullMax: time.Millisecond, DrainTimeout: time.Minute,
		Signals: &Signals{}, Logger: slog.New(slog.DiscardHandler),
		Adopt: func(nc net.Conn, state []byte) error {
			if string(state) == "panic" {
				panic(state)
			}
			go func() { _, _ = io.Copy(nc, nc); _ = nc.Close() }()
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	in := newInbox()
	s.assemble(in, newSignals(s.cfg.Signals, in.ended), origin{
		os: &system{processes: osProcesses{}, pid: os.Getpid(), inherits: true}, generation: 2,
	})
	ln, err := s.set.Listen("unix", t.TempDir()+"/s") // one whose close takes no time
	if err != nil {
		t.Fatal(err)
	}
	s.set.Open()
	r := s.run
	r.state.Phase, r.state.Running, r.state.SameWish = phase, true, 0
	r.state.Successor.Phase, r.state.Successor.Alone, r.state.Successor.Said = lifecycle.Main, false, true
	if phase == machine.Probation {
		r.state.Successor.Phase = lifecycle.Awaiting
	}
	for _, f := range set {
		f(r)
	}
	go r.loop()
	return s, ln
}

// retire makes the generation one that was replaced, by what is at the other end of that link.
func retire(near *link.Link, bound time.Duration) (*swap, func(*runner)) {
	sw := newSwap(3, 1, nil)
	sw.link, sw.offers.bound = near, bound
	return sw, func(r *runner) {
		r.swap = sw
		r.state.Swap, r.state.Child.Attempt, r.state.Child.Phase = true, 1, lifecycle.Retired
	}
}

// startedBy makes the generation one that e has started.
func startedBy(e *elder) func(*runner) {
	return func(r *runner) { r.others.parent, r.others.starter = e, e }
}

// endTest asks the service to stop until it does.
func (s *Service) endTest() {
	for s.run.post(machine.Signaled{Verb: machine.Stop, Signal: os.Interrupt, At: time.Now()}) {
	}
}

// rogue is the other end of a link, which keeps no rules.
type rogue struct {
	*net.UnixConn
	odd  []*os.File // descriptors of every kind
	ends []*os.File // the other ends of those: with both, a generation waits for itself
}

func newRogue(t testing.TB) (*link.Link, *rogue) {
	t.Helper()
	near, far, err := link.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	nc, err := net.FileConn(far)
	if err != nil {
		t.Fatal(err)
	}
	p := &rogue{UnixConn: nc.(*net.UnixConn)}
	keep := func(in *[]*os.File, fd int, err error) {
		if err != nil {
			t.Fatal(err)
		}
		*in = append(*in, os.NewFile(uintptr(fd), "odd"))
	}
	add := func(fd int, err error) { keep(&p.odd, fd, err) }
	socket := func(domain, kind int) int {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
		add(fd, err)
		return fd
	}
	pair := func(kind int) {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		add(fds[0], err)
		keep(&p.ends, fds[1], nil)
	}
	pair(unix.SOCK_STREAM) // 0, 1: what HandOver sends
	pair(unix.SOCK_STREAM)
	pair(unix.SOCK_SEQPACKET)
	pair(unix.SOCK_DGRAM)
	listening := socket(unix.AF_INET, unix.SOCK_STREAM)
	if err := unix.Listen(listening, 1); err != nil {
		t.Fatal(err)
	}
	socket(unix.AF_INET, unix.SOCK_STREAM) // not connected
	socket(unix.AF_INET6, unix.SOCK_DGRAM)
	var pipe [2]int
	err = unix.Pipe2(pipe[:], unix.O_CLOEXEC)
	add(pipe[0], err)
	add(pipe[1], nil)
	add(unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0))
	add(unix.Open(".", unix.O_DIRECTORY|unix.O_CLOEXEC, 0))
	add(unix.EpollCreate1(unix.EPOLL_CLOEXEC))
	return near, p
}

// say sends a frame with that text, or as it is, and n descriptors from the i-th odd one on.
func (p *rogue) say(text []byte, framed bool, i, n int) {
	if framed {
		head := bigendian.BigEndian.AppendUint32(nil, uint32(len(text)))
		text = append(bigendian.BigEndian.AppendUint32(head, uint32(n)), text...)
	}
	var fds []int
	for j := range n {
		fds = append(fds, int(p.odd[(i+j)%len(p.odd)].Fd()))
	}
	var rights []byte
	if n > 0 {
		rights = unix.UnixRights(fds...)
	}
	_ = p.SetWriteDeadline(time.Now().Add(time.Second)) // nobody may be reading any more
	_, _, _ = p.WriteMsgUnix(text, rights, nil)
}

func (p *rogue) close() {
	_ = p.UnixConn.Close()
	closeAll(p.odd)
	closeAll(p.ends)
}

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// wantNoMore waits until no more descriptors are open than before: some are closed by goroutines that end.
func wantNoMore(t testing.TB, before int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); descriptors(t) > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d descriptors before, %d after", before, descriptors(t))
		}
	}
}

func seeds(f *testing.F) {
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil { // the runtime's poller has descriptors from then on
		_ = ln.Close()
	}
	text := func(m message) []byte {
		b, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	conn := []listener.Ticket{{Listener: "unix here", State: []byte("state")}}
	for _, m := range []message{
		{Kind: kindHello, Generation: -1}, {Kind: kindFailed, Reason: "x"}, {Kind: kindProven, PID: 1},
		{Kind: kindPromoted, Swap: true, Pulled: true, Join: true, Ledger: []byte("{}")},
		{Kind: kindElder, Generation: 1, PID: 2},
		{Kind: kindConns, Tickets: append(conn, conn...)}, {Kind: kindAdopt, ID: 7, Tickets: conn}, {Kind: kindAdopt},
		{Kind: kindStop},
		{Kind: kindAdopt, ID: -1, Tickets: []listener.Ticket{{Listener: "unix here", State: []byte("panic"),
			Hijacked: true}}},
		{Kind: kindTook, ID: 1, Took: []bool{true}}, {Kind: kindTook, ID: 2, Took: []bool{false}, Reason: "no"},
		{Kind: kindTook, Took: []bool{true}},
		{Kind: kindTook, ID: 1, Took: []bool{true, true}}, {Kind: kindTook, Took: []bool{}}, {Kind: kindHurry},
		{Kind: kindPromoted, Owned: []string{"a"}}, {Kind: kindOwns, Owned: []string{"a", "a"}},
		{Kind: kindRequest},
		{Kind: kindOffer, ID: 1, Batch: batchOf(append(conn, conn...))}, {Kind: kindOffer, ID: 2, Batch: []byte{1}},
		{Kind: "?"}, {},
	} {
		for i := range 15 {
			f.Add(text(m), byte(i), byte(i%4), i%2 == 0, i > 0)
		}
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), byte(0), byte(1), false, false)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, byte(0), byte(200), false, true)
	f.Add(text(message{Kind: kindConns, Tickets: append(conn, conn...)}), byte(0), byte(250), true, true)
	f.Add(text(message{Kind: kindAdopt, ID: 3, Tickets: conn}), byte(0), byte(250), true, true)
	f.Add(text(message{Kind: kindElder, Generation: 1, PID: 2}), byte(0), byte(1), false, true)
	f.Add([]byte{0, 0, 0, 9, 0, 0, 0, 1}, byte(0), byte(1), true, false)
}

// Whatever an older generation says, and whenever it dies, the new one neither crashes nor leaks.
func FuzzElder(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte, first, n byte, main, framed bool) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close what is forgotten
		before := descriptors(t)
		phase := machine.Probation
		if main {
			phase = machine.Ready
		}
		near, p := newRogue(t)
		e := newElder(near, 1, 1)
		s, ln := alone(t, phase, startedBy(e))
		heard := make(chan struct{})
		go func() { defer close(heard); s.run.adopter.hear(e) }()
		go func() { // servers
			for nc, err := ln.Accept(); err == nil; nc, err = ln.Accept() {
				_ = nc.Close()
			}
		}()
		text = fit(text, ln)
		p.say(text, framed, int(first), int(n)%251)
		p.say(text, framed, int(first)+1, int(n)%3)
		p.close()
		<-heard
		for len(s.Status().Older) > 0 { // what was introduced is gone too
		}
		s.endTest()
		_ = near.Close()
		wantNoMore(t, before)
	})
}

// fit puts the listener's name where it is wanted.
func fit(text []byte, ln net.Listener) []byte {
	var m message
	if json.Unmarshal(text, &m) != nil {
		return text
	}
	for i := range m.Tickets {
		if m.Tickets[i].Listener == "unix here" {
			m.Tickets[i].Listener = "unix " + ln.Addr().String()
		}
	}
	if tickets, err := ticketsOf(m.Batch); err == nil && len(m.Batch) > 0 {
		for i := range tickets {
			tickets[i].Listener = "unix " + ln.Addr().String()
		}
		m.Batch = batchOf(tickets)
	}
	m.PIDFile, m.Control = "", "" // files of this machine are none of the fuzzer's
	text, _ = json.Marshal(m)
	return text
}

// Whatever a newer generation answers, and whenever it dies, who hands over learns what became of it, and
// what was not taken can be used.
func FuzzSuccessor(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte, first, n byte, _, framed bool) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close what is forgotten
		before := descriptors(t)
		near, p := newRogue(t)
		sw, retired := retire(near, 0)
		s, ln := alone(t, machine.Draining, retired)
		go sw.hear(s.run.inbox)

		var waiting sync.WaitGroup
		for range 2 {
			client, err := net.Dial("unix", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			nc, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			waiting.Go(func() {
				defer client.Close()
				defer nc.Close()
				if err := s.HandOver(nc, []byte("state")); err == nil {
					if _, err := nc.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
						t.Errorf("gone, and yet here: %v", err)
					}
				} else if _, err = client.Write([]byte("x")); err != nil {
					t.Error(err)
				} else if _, err = nc.Read(make([]byte, 1)); err != nil {
					t.Errorf("given back, but of no use: %v", err)
				}
			})
		}
		waiting.Go(func() {
			nc, _ := unixPair(t)
			defer nc.Close()
			took, err := sw.handover([]listener.Ticket{{}}, []syscall.Conn{nc})
			if err == nil && len(took) > 0 && took[0] {
				return
			}
			if _, err := nc.SyscallConn(); err != nil {
				t.Error(err)
			}
		})
		p.say(text, framed, int(first), int(n)%251)
		p.say(text, framed, int(first)+1, int(n)%3)
		p.close()
		waiting.Wait()
		<-sw.gone
		s.endTest()
		wantNoMore(t, before)
	})
}

func unixPair(t testing.TB) (near *net.UnixConn, err error) {
	l, far, err := link.Pair()
	if err != nil {
		t.Error(err)
		return nil, err
	}
	_ = l.Close()
	defer far.Close()
	nc, err := net.FileConn(far)
	if err != nil {
		t.Error(err)
		return nil, err
	}
	return nc.(*net.UnixConn), nil
}

// accepted is a connection of ln, a unix socket, whose client stays until the test ends.
func accepted(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	client, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

// A peer that takes the offer and says nothing.
func TestHandOverEndsWithTheService(t *testing.T) {
	near, p := newRogue(t)
	defer p.close()
	sw, retired := retire(near, 0)
	s, ln := alone(t, machine.Draining, retired)
	go sw.hear(s.run.inbox)
	nc := accepted(t, ln)
	over := make(chan error, 1)
	go func() { over <- s.HandOver(nc, nil) }()
	if _, err := p.Read(make([]byte, 1)); err != nil { // it is on its way
		t.Fatal(err)
	}
	s.endTest()
	select {
	case err := <-over:
		if err == nil {
			t.Error("nobody has taken it")
		}
	case <-time.After(20 * time.Second):
		t.Error("HandOver goes on after the end of the service")
	}
}
