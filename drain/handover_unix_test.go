//go:build unix

package drain_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
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

// wantLine wants a whole line to be answered by that generation.
func (l *liner) wantLine(gen, hops int) {
	l.Helper()
	if g, h := l.say(); g != gen || h != hops {
		l.Errorf("generation %d answers, after %d others; want %d after %d", g, h, gen, hops)
	}
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
	if r := s.noteSince(mark, 0, "kept: "); !strings.Contains(r.Note, "no generation follows") {
		t.Error(r)
	}
	for _, l := range all {
		l.wantClosed()
	}
	s.wantNothingLost()
}

func TestRefusedConnectionIsGivenBack(t *testing.T) {
	t.Parallel()
	for fault, reason := range map[string]string{
		"no Adopt":      "it has no Config.Adopt",
		"adopt refuses": "Config.Adopt: what is this?",
		"adopt panics":  "Config.Adopt panicked: a bug of the new version",
		"no lines":      `nobody listens on "tcp4 127.0.0.1:0" here`,
	} {
		t.Run(fault, func(t *testing.T) {
			s := start(t, plan{Lines: true})
			l := s.liner()
			l.half()
			s.nextHas(fault)
			child := s.swap()
			if r := s.noteSince(0, s.pgid, "kept: "); !strings.Contains(r.Note, reason) {
				t.Error(r)
			}
			if gen, hops := l.rest(); gen != 1 || hops != 0 {
				t.Errorf("generation %d answers, after %d", gen, hops)
			}
			l.wantLine(1, 0)
			_ = l.nc.Close()
			s.wantExit(s.pgid, 0)
			s.wantServed(child.PID)
		})
	}
}

// Before it has said yes, a generation that dies leaves everything as it was.
func TestNewKilledWhileItAdopts(t *testing.T) {
	s := start(t, plan{Lines: true})
	l := s.liner()
	l.half()
	s.nextHas("adopt crashes")
	s.signal(s.pgid, syscall.SIGHUP) // the new one may crash before it has told of its promotion
	if r := s.noteSince(0, s.pgid, "kept: "); !strings.Contains(r.Note, "gone") {
		t.Error(r)
	}
	if gen, _ := l.rest(); gen != 1 {
		t.Errorf("generation %d answers", gen)
	}
	l.wantLine(1, 0)
	_ = l.nc.Close()
	s.wantEnd(0, "")
}

// From the moment in which the offer is on its way the new one can do without the old one.
func TestOldKilledWhileTheNewAdopts(t *testing.T) {
	s := start(t, plan{Lines: true})
	l := s.liner()
	l.half()
	atGate("adopt is slow")(s, nil)
	open := s.opener(s.plan.Gate)
	child := s.swap()
	s.noteSince(0, child.PID, "at the gate")
	s.signal(s.pgid, syscall.SIGKILL)
	s.wantExit(s.pgid, -9)
	open()
	if gen, hops := l.rest(); gen != 2 || hops != 1 {
		t.Errorf("generation %d answers, after %d", gen, hops)
	}
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
	if gen, hops := l.rest(); gen != 3 || hops != 1 {
		t.Errorf("generation %d answers, after %d", gen, hops)
	}
	s.stop()
	l.wantClosed()
}

// late starts a service whose first generation hands a connection over, and drains, only after open.
func late(t testing.TB) (s *service, l *liner, open func()) {
	s = start(t, plan{Lines: true, DrainTimeout: 2 * hung}, atGate("hand over late"))
	open = s.opener(s.plan.Gate)
	l = s.liner()
	l.half()
	s.nextHas("")
	return s, l, open
}

func (l *liner) wantKept(reason string) {
	l.Helper()
	if r := l.noteSince(0, l.pgid, "kept: "); !strings.Contains(r.Note, reason) {
		l.Error(r)
	}
	if gen, hops := l.rest(); gen != 1 || hops != 0 {
		l.Errorf("generation %d answers, after %d", gen, hops)
	}
	l.wantLine(1, 0)
	_ = l.nc.Close()
}

func TestHandOverToAGenerationThatStops(t *testing.T) {
	s, l, open := late(t)
	child := s.swap()
	s.tell(child.PID, syscall.SIGTERM)
	s.event(2, "waiting for older generations")
	open()
	l.wantKept("refuses: nobody listens")
	s.gone()
	s.wantExit(s.pgid, 0)
	s.noteSince(0, child.PID, "exit 0")
}

func TestHandOverToAGenerationOutOfDescriptors(t *testing.T) {
	s, l, open := late(t)
	c := s.serving(s.swap())
	if a, err := c.ask("GET", "/do?it=starve&spare=0", ""); err != nil || a.status != 200 {
		t.Fatal(a, err)
	}
	_ = c.Close()
	open()
	l.wantKept("refuses: ")
	s.wantExit(s.pgid, 0)
}

// serving is a connection to that generation: a new one may lead to the generation before for a moment.
func (s *service) serving(r record) *client {
	s.Helper()
	for timeout := time.After(hung); ; {
		c := s.connect()
		a, err := c.ask("GET", "/whoami", "")
		if err == nil && a.pid == r.PID {
			return c
		}
		_ = c.Close()
		select {
		case <-timeout:
			s.Fatalf("%v does not serve: %+v, %v", r, a, err)
		default:
		}
	}
}

// Config.Adopt holds up a further swap, but nothing else.
func TestSlowAdoptHoldsUpNobodyElse(t *testing.T) {
	s := start(t, plan{Lines: true, DrainTimeout: 2 * hung})
	late := s.liner()
	atGate("adopt is slow")(s, nil)
	open := s.opener(s.plan.Gate)
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
	if gen, hops := late.rest(); gen != 3 || hops != 2 {
		t.Errorf("generation %d answers, after %d", gen, hops)
	}
	s.stop()
}

// What was not taken in time is served here until DrainTimeout. Its client hears of the end, though the new
// generation has a descriptor still.
func TestDrainTimeoutAfterAnOfferWasWithdrawn(t *testing.T) {
	s := start(t, plan{Lines: true, DrainTimeout: 16 * time.Second})
	l := s.liner()
	l.half()
	s.plan.DrainTimeout = hung
	atGate("adopt is slow")(s, nil)
	open := s.opener(s.plan.Gate)
	s.swap()
	if r := s.noteSince(0, s.pgid, "kept: "); !strings.Contains(r.Note, "does not answer within 4s") {
		t.Error(r)
	}
	if gen, hops := l.rest(); gen != 1 || hops != 0 {
		t.Errorf("generation %d answers, after %d", gen, hops)
	}
	s.wantExit(s.pgid, 1)
	l.wantClosed()
	open()
	s.stop()
}

// A generation that is halted before it could adopt has nothing when it wakes: the old one serves on.
func TestHandOverToAHaltedGeneration(t *testing.T) {
	s, l, open := late(t)
	child := s.swap()
	s.event(1, "replaced")
	s.halt(child.PID)
	open()
	if r := s.noteSince(0, s.pgid, "kept: "); !strings.Contains(r.Note, "does not answer within 5s") {
		t.Error(r)
	}
	if gen, hops := l.rest(); gen != 1 || hops != 0 {
		t.Errorf("generation %d answers, after %d", gen, hops)
	}
	s.signal(child.PID, syscall.SIGCONT)
	_ = s.serving(child).Close()
	for range 5 {
		l.wantLine(1, 0)
	}
	_ = l.nc.Close()
	s.wantExit(s.pgid, 0)
	s.stop()
}
