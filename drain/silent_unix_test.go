//go:build unix

package drain_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// What a listener around the service's has accepted, and no server knows yet, has begun no request as long as
// its client has said nothing, or a part of what comes before one. It holds up neither a stop nor a swap for
// longer than its grace.
func TestSilentClientsOfAWrapperHoldNobody(t *testing.T) {
	t.Parallel()
	const hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
	for _, x := range []struct {
		wrap   string
		secure bool
		before bool // somebody takes the only place first
		says   []string
	}{
		{wrap: "proxy in Accept", says: []string{"", "P", proxyHeader[:9], proxyHeader, proxyHeader2[:3],
			proxyHeader2[:15], proxyHeader2}},
		{wrap: "proxy", says: []string{"", "P", proxyHeader[:9], "PO"}},
		{wrap: "mux", says: []string{"", "G", "POST"}},
		{wrap: "limit one", before: true, says: []string{"", "G"}},
		{wrap: "queue one", before: true, says: []string{"", "G"}},
		{wrap: "TLS in Accept", secure: true, says: []string{"", "\x16\x03", hello}},
	} {
		for _, says := range x.says {
			for _, stops := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %.20q, stop %v", x.wrap, says, stops), func(t *testing.T) {
					p := plan{Wrap: x.wrap, IdleGrace: 300 * time.Millisecond, DrainTimeout: 2 * hung}
					if x.secure {
						p = tlsPlan(t, p)
					}
					s := start(t, p, withControl)
					open := 1
					if x.before {
						open++
						if a, err := s.connect().ask("POST", "/echo", "x"); err != nil || a.body != "x" {
							t.Fatalf("%+v, %v", a, err)
						}
					}
					silent := begun{name: x.wrap, says: says}.raw(s)
					s.eventualControl("the client is accepted", func(st drain.Status) bool { return st.Open.Open() == open })
					if stops {
						s.signal(s.pgid, syscall.SIGTERM)
					} else {
						s.swap()
						s.wantExit(s.pgid, 0)
						s.signal(s.main().PID, syscall.SIGTERM)
					}
					begun{name: says}.wantSilentEnd(s, silent)
					s.gone()
					if stops {
						s.wantExit(s.pgid, 0)
					}
					s.wantQuickEnds(hung / 2)
					if got := s.ledger(); got.Lost != 0 || got.CutOff != 0 {
						t.Errorf("the ledger has %+v", got)
					}
				})
			}
		}
	}
}

// Another server behind a mux, of which the service knows nothing, is left the time it takes for what it was asked; a
// client of either that has said nothing is not waited for.
func TestOtherServersOfAMuxAnswer(t *testing.T) {
	t.Parallel()
	for _, stops := range []bool{true, false} {
		t.Run(fmt.Sprint("stop ", stops), func(t *testing.T) {
			s := start(t, plan{Wrap: "mux", IdleGrace: 200 * time.Millisecond, DrainTimeout: 2 * hung}, withControl)
			asks := begun{says: "echo hello\n"}.raw(s)
			begun{}.raw(s)
			s.eventualControl("the clients are accepted", func(st drain.Status) bool {
				return st.Open.Other == 1 &&
					st.Open.Open() == 2
			})
			if stops {
				s.signal(s.pgid, syscall.SIGTERM)
			} else {
				s.swap()
			}
			_ = asks.SetReadDeadline(time.Now().Add(hung))
			if line, err := asks.r.ReadString('\n'); err != nil || line != "echo hello\n" {
				t.Errorf("got %q, %v", line, err)
			}
			_ = asks.Close()
			s.wantExit(s.pgid, 0)
			if !stops {
				s.stop()
			}
			if got := s.ledger(); got.Lost != 0 || got.CutOff != 0 {
				t.Errorf("the ledger has %+v", got)
			}
		})
	}
}

// Requests that have come as far as a wrapper are answered, over swaps and a stop.
func TestRequestsInsideAWrapperAreAnswered(t *testing.T) {
	t.Parallel()
	for _, wrap := range []string{"proxy in Accept", "proxy", "mux", "queue", "TLS in Accept"} {
		t.Run(wrap, func(t *testing.T) {
			p := plan{Wrap: wrap, IdleGrace: patient, DrainTimeout: 2 * hung, MaxGenerations: 16}
			if wrap == "TLS in Accept" {
				p = tlsPlan(t, p)
			}
			s := start(t, p)
			hurries := s.driveBy(func() (*client, error) { return dial(s) }, 0, 4, 0)
			stays := s.drive(2, 4*time.Millisecond)
			for range 4 {
				old := s.main().PID
				silent := begun{name: wrap}.raw(s)
				s.swap()
				_ = silent.Close() // in Accept, it has kept the others waiting
				hurries.settle()
				stays.settle()
				s.wantExit(old, 0)
			}
			hurries.end()
			stays.endWith(1 << 30)
			last := s.untilLast(6)
			s.stop()
			last()
			s.wantNothingLost()
		})
	}
}

// raw says it on a connection, with nothing before.
func (b begun) raw(s *service) *client {
	s.Helper()
	nc := have(net.DialTimeout(s.plan.Network, s.address(), hung))(s)
	s.Cleanup(func() { _ = nc.Close() })
	if _, err := io.WriteString(nc, b.says); err != nil {
		s.Fatalf("%s: %v", b.name, err)
	}
	return &client{Conn: nc, r: bufio.NewReader(nc)}
}

// eventualControl is eventualStatus where a client holds the listener up.
func (s *service) eventualControl(what string, is func(drain.Status) bool) {
	s.Helper()
	for end := time.Now().Add(hung); ; time.Sleep(5 * time.Millisecond) {
		st := s.mustControl("status")
		if is(st) {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("%+v; want %s", st, what)
		}
	}
}
