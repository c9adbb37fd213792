package dormant

import (
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// guest is one by its number.
type guest int

func (n guest) Close() error { closed <- n; return nil }

var closed = make(chan guest, 3)

// guests are a Home of numbered connections. Each Wake is told to woken, and ends as outcomes say, at first with Over.
type guests struct {
	sync.Mutex
	outcomes map[guest]Outcome
	goesOn   bool
	tried    []guest
	woken    chan guest
}

func (g *guests) GoesOn() bool { return g.goesOn }

func (g *guests) Wake(n guest) Outcome {
	g.tried = append(g.tried, n)
	if o := g.outcomes[n]; o != Over {
		return o
	}
	g.woken <- n
	return Over
}

// of returns a Rest of the guests 1 to n, and their clients' ends.
func (g *guests) of(t *testing.T, n int, every time.Duration) (r *Rest[guest], clients []int) {
	t.Helper()
	g.woken = make(chan guest, n)
	g.Lock()
	defer g.Unlock()
	r = Begin[guest](g, every)
	for i := range n {
		const kind = syscall.SOCK_STREAM | syscall.SOCK_NONBLOCK | syscall.SOCK_CLOEXEC
		pair, err := syscall.Socketpair(syscall.AF_UNIX, kind, 0)
		if err != nil {
			t.Fatal(err)
		}
		here := New(pair[0])
		t.Cleanup(func() { _ = here.Close(); _ = syscall.Close(pair[1]) })
		if place := r.Add(guest(i+1), here, true); place != i {
			t.Fatalf("place %d, want %d", place, i)
		}
		clients = append(clients, pair[1])
	}
	t.Cleanup(func() {
		g.Lock()
		defer g.Unlock()
		g.outcomes = nil
		r.WakeAll()
	})
	return r, clients
}

// tick returns those that were tried in a tick.
func (g *guests) tick(r *Rest[guest]) []guest {
	g.tried = nil
	r.Tick()
	return g.tried
}

func upTo(from, to guest) (all []guest) {
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all
}

func TestRest(t *testing.T) {
	type step struct {
		after func(g *guests, r *Rest[guest])
		want  []guest // tried in the tick that follows
	}
	for name, steps := range map[string][]step{
		"one tick after the last has come, they go by groups, the oldest first": {
			{nil, nil}, {nil, upTo(1, 20)}, {nil, upTo(21, 40)}, {nil, nil},
		},
		"none goes while they may go to another process": {
			{nil, nil}, {func(g *guests, _ *Rest[guest]) { g.goesOn = true }, nil}, {nil, nil},
			{func(g *guests, _ *Rest[guest]) { g.goesOn = false }, upTo(1, 20)},
		},
		"one that is removed is not tried": {
			{func(_ *guests, r *Rest[guest]) { r.Remove(3, 2); r.Remove(3, 2) }, nil},
			{nil, append([]guest{1, 2}, upTo(4, 21)...)}, {nil, upTo(22, 40)}, {nil, nil},
		},
		"a place means nothing without its guest": {
			{func(_ *guests, r *Rest[guest]) { r.Wake(3, 4); r.Remove(5, 2); r.Wake(1, 40) }, nil},
			{nil, upTo(1, 20)},
		},
		"one that is to be tried later is so at the next tick, and no other": {
			{func(g *guests, r *Rest[guest]) {
				g.outcomes = map[guest]Outcome{2: Later, 30: Later}
				r.Wake(2, 1)
				r.Wake(30, 29)
			}, []guest{2, 30}},
			{func(g *guests, _ *Rest[guest]) { g.outcomes[30] = Over }, append([]guest{2, 30}, upTo(1, 20)...)},
			{func(g *guests, _ *Rest[guest]) { g.outcomes = nil }, append([]guest{2}, append(upTo(21, 29),
				upTo(31, 40)...)...)}, {nil, nil},
		},
		"without descriptors no other one is tried": {
			{func(g *guests, _ *Rest[guest]) { g.outcomes = map[guest]Outcome{3: Scarce} }, nil}, {nil, upTo(1, 3)},
			{nil, []guest{3}}, {func(g *guests, _ *Rest[guest]) { g.outcomes = nil }, upTo(3, 23)}, {nil, upTo(24, 40)},
		},
		"where all are to go, those that could not for want of descriptors go at the next tick": {
			{func(g *guests, r *Rest[guest]) { g.outcomes = map[guest]Outcome{3: Scarce}; r.WakeAll() }, []guest{3}},
			{func(g *guests, _ *Rest[guest]) { g.outcomes = nil }, upTo(3, 40)}, {nil, nil},
		},
		"one that another process may take keeps nobody, and has its turn again": {
			{func(g *guests, _ *Rest[guest]) { g.outcomes = map[guest]Outcome{1: Stays} }, nil}, {nil, upTo(1, 20)},
			{func(g *guests, _ *Rest[guest]) { g.outcomes = nil }, append([]guest{1}, upTo(21, 39)...)},
			{nil, []guest{40}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := &guests{}
			r, _ := g.of(t, 40, restTime/2) // a tick takes half
			for i, s := range steps {
				g.Lock()
				if s.after != nil {
					s.after(g, r)
				}
				g.Unlock()
				if got := g.tick(r); !slices.Equal(got, s.want) {
					t.Errorf("tick %d tries %v, want %v", i+1, got, s.want)
				}
			}
		})
	}
}

func TestRestEndsWithTheLast(t *testing.T) {
	g := &guests{}
	r, clients := g.of(t, 3, time.Hour)
	if _, err := syscall.Write(clients[0], []byte("GET")); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Shutdown(clients[1], syscall.SHUT_WR)
	for range 2 {
		select {
		case n := <-g.woken:
			if n == 3 {
				t.Error("one whose client says nothing is woken")
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the client's bytes, or its end, wake nobody")
		}
	}
	g.Lock()
	defer g.Unlock()
	r.Abandon()
	if n := <-closed; n != 3 || r.Empty() { // the first that is closed
		t.Errorf("%d is closed; empty: %v", n, r.Empty())
	}
	r.Remove(3, 2)
	if !r.Empty() {
		t.Error("it goes on")
	}
}

func TestTicksComeByThemselves(t *testing.T) {
	const n = 2*restLeast + 1 // three groups
	g := &guests{}
	_, _ = g.of(t, n, time.Millisecond)
	for i := range n {
		select {
		case <-g.woken:
		case <-time.After(30 * time.Second):
			t.Fatalf("%d of %d are woken", i, n)
		}
	}
}

// The descriptor of one that is closed may be another's.
func TestAClosedConnUsesNoDescriptor(t *testing.T) {
	fd, err := syscall.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	c := New(fd)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	_, woken := c.Wake()
	rc, _ := c.SyscallConn()
	for does, err := range map[string]error{
		"Close": c.Close(), "Wake": woken, "CloseWrite": c.CloseWrite(), "Control": rc.Control(func(uintptr) {}),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", does, err)
		}
	}
}

// Where the poller has no descriptor, or nobody is to wait, none rests.
func TestNoRest(t *testing.T) {
	g := &guests{outcomes: map[guest]Outcome{2: Later}, woken: make(chan guest, 3)}
	g.Lock()
	r := &Rest[guest]{home: g, every: time.Hour, again: make(map[int]bool)}
	r.Add(1, nil, true)
	r.Add(2, nil, true)
	if !r.Hasty() || r.left != 1 {
		t.Errorf("hasty %v, %d rest", r.Hasty(), r.left)
	}
	g.outcomes = nil
	g.Unlock()
	r.Tick()
	if !r.Empty() {
		t.Errorf("%d rest", r.left)
	}
	g.Lock()
	r = Begin[guest](g, time.Hour)
	if r.Add(3, nil, false); !r.Empty() {
		t.Error("one that is not awaited rests")
	}
	g.Unlock()
	var none *Rest[guest]
	none.WakeAll()
	none.Wake(1, 0)
	none.Remove(1, 0)
	none.Abandon()
	if !none.Empty() {
		t.Error("a nil Rest has something")
	}
}
