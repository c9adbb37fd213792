//go:build unix

package drain_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// liner is a client of the lineServer.
type liner struct {
	*service
	nc net.Conn
	r  *bufio.Reader
	n  int
}

func (s *service) liner() *liner {
	s.Helper()
	addr := strings.TrimPrefix(s.noteSince(0, 0, "lines on ").Note, "lines on ")
	nc := have(net.DialTimeout("tcp", addr, hung))(s)
	_ = nc.SetDeadline(time.Now().Add(2 * hung))
	s.Cleanup(func() { _ = nc.Close() })
	l := &liner{service: s, nc: nc, r: bufio.NewReader(nc)}
	l.say()
	return l
}

// hijacked is a liner whose connection was one of HTTP.
func (s *service) hijacked() *liner {
	s.Helper()
	c := s.connect()
	if a, err := c.ask("GET", "/lines", ""); err != nil || a.body != "ok" {
		s.Fatal(a, err)
	}
	l := &liner{service: s, nc: c.Conn, r: c.r}
	l.say()
	return l
}

// half sends the first half of a line.
func (l *liner) half() {
	l.Helper()
	l.n++
	_ = l.nc.SetDeadline(time.Now().Add(2 * hung))
	if _, err := fmt.Fprintf(l.nc, "line num"); err != nil {
		l.Fatal(err)
	}
}

// rest sends what half has left, and returns which generation answers, and how many had the connection before.
func (l *liner) rest() (gen, hops int) {
	l.Helper()
	_ = l.nc.SetDeadline(time.Now().Add(2 * hung))
	if _, err := fmt.Fprintf(l.nc, "ber %d\n", l.n); err != nil {
		l.Fatal(err)
	}
	return l.receive()
}

func (l *liner) receive() (gen, hops int) {
	l.Helper()
	text, err := l.r.ReadString('\n')
	if err != nil {
		l.Fatalf("line %d: %v", l.n, err)
	}
	var n int
	if _, err := fmt.Sscanf(text, "%d %d line number %d\n", &gen, &hops, &n); err != nil || n != l.n {
		l.Fatalf("line %d is answered %q", l.n, text)
	}
	return gen, hops
}

func (l *liner) say() (gen, hops int) { l.Helper(); l.half(); return l.rest() }

// wantRest wants what half has left to be answered so.
func (l *liner) wantRest(gen, hops int) {
	l.Helper()
	if g, h := l.rest(); g != gen || h != hops {
		l.Errorf("generation %d answers, after %d others; want %d after %d", g, h, gen, hops)
	}
}

// wantLine wants a whole line to be answered by that generation.
func (l *liner) wantLine(gen, hops int) {
	l.Helper()
	l.half()
	l.wantRest(gen, hops)
}

func (l *liner) wantClosed() {
	l.Helper()
	if text, err := io.ReadAll(l.r); len(text) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		l.Errorf("%q, %v; want the connection closed", text, err)
	}
}

func TestHandOverKeepsConnectionsAndTheirState(t *testing.T) {
	s := start(t, plan{Lines: true})
	var all []*liner
	for i := range 24 {
		if i%2 == 0 {
			all = append(all, s.liner())
		} else {
			all = append(all, s.hijacked())
		}
	}
	for hops := 1; hops <= 5; hops++ {
		for i, l := range all {
			if i%3 == 0 {
				l.half()
			}
		}
		was, r := s.main().PID, s.swap()
		s.wantExit(was, 0)
		for i, l := range all {
			if i%3 != 0 {
				l.half()
			}
			if gen, h := l.rest(); gen != r.Gen || h != hops {
				t.Fatalf("client %d: generation %d answers, after %d others; want %d after %d", i, gen, h, r.Gen, hops)
			}
		}
		if n := s.status().Open; n.Adopted < 24 || n.Hijacked != 12 || n.Other != 12 {
			t.Errorf("%+v; want all to be counted as they were", n)
		}
	}
	mark := s.mark()
	s.stop()
	s.wantIn(s.noteSince(mark, 0, "kept: ").Note, "no generation follows")
	for _, l := range all {
		l.wantClosed()
	}
	s.wantNothingLost()
}

// wantKept wants the first generation to have heard that it keeps the connection, for that reason, and to serve it.
func (l *liner) wantKept(reason string) {
	l.Helper()
	l.wantIn(l.noteSince(0, l.pgid, "kept: ").Note, reason)
	l.wantRest(1, 0)
	l.wantLine(1, 0)
}

func TestRefusedConnectionIsGivenBack(t *testing.T) {
	type row struct{ fault, reason string }
	eachOf(t, func(t *testing.T, c row) {
		s := start(t, plan{Lines: true})
		l := s.liner()
		l.half()
		s.nextHas(c.fault)
		child := s.swap()
		l.wantKept(c.reason)
		_ = l.nc.Close()
		s.wantExit(s.pgid, 0)
		s.wantServed(child.PID)
	}, row{"no Adopt", "it has no Config.Adopt"}, row{"adopt refuses", "Config.Adopt: what is this?"},
		row{"adopt panics", "Config.Adopt: panic: a bug of the new version"},
		row{"no lines", `this process does not listen on "tcp4 127.0.0.1:0"`})
}

// Before it has said yes, a generation that dies leaves everything as it was.
func TestNewKilledWhileItAdopts(t *testing.T) {
	s := start(t, plan{Lines: true})
	l := s.liner()
	l.half()
	s.nextHas("adopt crashes")
	s.signal(s.pgid, hup) // the new one may crash before it has told of its promotion
	l.wantKept("gone")
	_ = l.nc.Close()
	s.wantEnd(0, "")
}

// From the moment in which the offer is on its way the new one can do without the old one.
func TestOldKilledWhileTheNewAdopts(t *testing.T) {
	s := start(t, plan{Lines: true})
	l := s.liner()
	l.half()
	open := s.nextAt("adopt is slow")
	child := s.swap()
	s.noteSince(0, child.PID, "at the gate")
	s.kill(s.pgid)
	open()
	l.wantRest(2, 1)
	s.nextHas("")
	s.swap()
	s.wantExit(child.PID, 0) // a moment after the swap
	l.wantLine(3, 2)
	s.stop()
}

func TestHandOverToTheGenerationAfterTheNext(t *testing.T) {
	s, l, open := late(t)
	child := s.swap()
	second := s.liner()
	for { // the first generation lets go of the door a moment after the swap
		if gen, _ := second.say(); gen == 2 {
			break
		}
		second = s.liner()
	}
	s.swap()
	s.awaitOlder(1)
	s.noteSince(0, child.PID, "lines leave") // or it might answer what it is about to hand over
	second.wantLine(3, 1)
	open()
	s.wantExit(s.pgid, 0)
	l.wantRest(3, 1)
	s.stop()
	l.wantClosed()
}

// late starts a service whose first generation hands a connection over, and drains, only after open.
func late(t testing.TB) (s *service, l *liner, open func()) {
	s, open = startAt(t, "hand over late", plan{Lines: true, DrainTimeout: 2 * hung})
	l = s.liner()
	l.half()
	return s, l, open
}

// What the next generation does not take, for whatever reason, the old one has as it was, and finishes.
func TestHandOverToAGenerationThatCantTakeIt(t *testing.T) {
	type row struct {
		spoil  func(s *service, child record)
		reason string
		then   func(s *service, child record)
	}
	nothing := func(*service, record) {}
	each(t, map[string]row{
		"stops": {func(s *service, child record) {
			s.tell(child.PID, term)
			s.event(2, "waiting for older generations")
		}, "refuses: this process does not listen", nothing},
		"out of descriptors": {func(s *service, child record) {
			c := s.serving(child)
			defer c.Close()
			if a, err := c.ask("GET", "/do?it=starve&spare=0", ""); err != nil || a.status != 200 {
				s.Fatal(a, err)
			}
		}, "refuses: ", nothing},
		"halted": {func(s *service, child record) {
			s.event(1, "replaced")
			s.halt(child.PID)
		}, "does not answer within 5s", func(s *service, child record) {
			s.signal(child.PID, syscall.SIGCONT)
			_ = s.serving(child).Close()
		}},
	}, func(t *testing.T, c row) {
		s, l, open := late(t)
		child := s.swap()
		c.spoil(s, child)
		open()
		l.wantKept(c.reason)
		c.then(s, child)
		for range 5 {
			l.wantLine(1, 0)
		}
		_ = l.nc.Close()
		s.wantExit(s.pgid, 0)
	})
}

// serving is a connection to that generation: a new one may lead to the generation before for a moment.
func (s *service) serving(r record) (c *client) {
	s.Helper()
	s.eventually("generation "+strconv.Itoa(r.Gen)+" to serve", func() bool {
		c = s.connect()
		a, err := c.ask("GET", "/whoami", "")
		if err == nil && a.pid == r.PID {
			return true
		}
		_ = c.Close()
		return false
	})
	return c
}

// Config.Adopt holds up a further swap, but nothing else.
func TestSlowAdoptHoldsUpNobodyElse(t *testing.T) {
	s := start(t, plan{Lines: true, DrainTimeout: 2 * hung})
	late := s.liner()
	open := s.nextAt("adopt is slow")
	slow, openSlow := s.slow("one")
	child := s.swap()
	s.noteSince(0, child.PID, "at the gate")
	s.finishSlow(slow, openSlow)
	s.wantMoved(slow, child) // over the link on which the answer is awaited
	s.nextHas("")
	late.half()
	s.swap()
	if a := s.get("/whoami"); a.status != 200 { // by either: the second lets go of the door last
		t.Errorf("%+v", a)
	}
	s.noteSince(0, child.PID, "lines leave") // or it might answer what it is about to hand over
	open()
	late.wantRest(3, 2)
	s.stop()
}

// What was not taken in time is served here until DrainTimeout. Its client hears of the end, though the new
// generation has a descriptor still.
func TestDrainTimeoutAfterAnOfferWasWithdrawn(t *testing.T) {
	s := start(t, plan{Lines: true, DrainTimeout: 8 * time.Second})
	l := s.liner()
	l.half()
	s.plan.DrainTimeout = hung
	open := s.nextAt("adopt is slow")
	s.swap()
	l.wantKept("does not answer within 2s")
	s.wantExit(s.pgid, 1)
	l.wantClosed()
	open()
	s.stop()
}
