//go:build unix

package drain_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A client that heeds Connection: close gets an answer to everything it sends.
func TestStopUnderLoadAnswersWhatArrives(t *testing.T) {
	t.Parallel()
	s := start(t, plan{IdleGrace: 10 * time.Second})
	const n = 16
	var clients sync.WaitGroup
	begun := make(chan struct{}, n)
	for i := range n {
		c := s.connect()
		clients.Go(func() {
			for k := 0; ; k++ {
				a, err := c.ask("POST", "/echo", fmt.Sprint(i, k))
				if err != nil || a.body != fmt.Sprint(i, k) {
					t.Errorf("client %d, request %d: %+v, %v", i, k, a, err)
				}
				if k == 0 {
					begun <- struct{}{}
				}
				if err != nil || a.close {
					return
				}
			}
		})
	}
	for range n {
		<-begun
	}
	s.signal(s.pgid, syscall.SIGTERM)
	clients.Wait()
	s.wantEnd(0, "")
	s.wantNothingLost()
}

func TestStopWaitsForLeave(t *testing.T) {
	t.Parallel()
	s := begin(t, plan{PullMax: hung}, atGate("slow leave"))
	s.event(1, "ready")
	open := s.opener(s.plan.Gate)
	s.signal(s.pgid, syscall.SIGTERM)
	s.event(1, "stopping")
	s.noteSince(0, 0, "at the gate")
	s.event(1, "pull noticed")
	if a := s.get("/whoami"); a.status != 200 {
		t.Errorf("%+v", a)
	}
	s.wantNone(0, "draining")
	open()
	s.wantEnd(0, "")
	s.wantOrder(told(1, "stopping"), noted(1, "left"), told(1, "draining"), told(1, "stopped"))
}

// A supervisor may send its signals to all processes of the service. A candidate has a group of its own.
func TestSignalsToTheWholeGroup(t *testing.T) {
	t.Parallel()
	t.Run("stop in a swap", func(t *testing.T) {
		t.Parallel()
		s := start(t, plan{})
		s.beginSwap("in Ready")
		s.signal(-s.pgid, syscall.SIGINT)
		s.wantEnd(0, "")
	})
	t.Run("stop while an old one drains", func(t *testing.T) {
		t.Parallel()
		s := start(t, plan{})
		c, open := s.slow("slow")
		s.swap()
		s.event(1, "replaced")
		mark := s.mark()
		s.signal(-s.pgid, syscall.SIGTERM)
		s.noteSince(mark, s.pgid, "signal: terminated")
		s.event(2, "waiting for older generations")
		s.finishSlow(c, open)
		s.event(2, "stopped")
		s.gone()
		s.wantExit(s.pgid, 0)
	})
	t.Run("swap in a swap", func(t *testing.T) {
		t.Parallel()
		s := start(t, plan{})
		l := s.drive(4, time.Millisecond)
		open := s.beginSwap("in Ready")
		mark := s.mark()
		s.signal(-s.pgid, syscall.SIGHUP)
		s.noteSince(mark, s.pgid, "signal: hangup")
		open()
		s.event(3, "promoted")
		l.end()
		s.wantAlone(s.main().PID)
		if st := s.status(); st.Generation != 3 || st.Swaps != 0 {
			t.Errorf("%+v; want one more generation", st)
		}
		s.stop()
	})
}

func TestNoSignals(t *testing.T) {
	t.Parallel()
	s := start(t, plan{Fault: "no signals"})
	if got := s.do("swap"); got != "" {
		t.Errorf("Swap: %q", got)
	}
	s.event(2, "promoted")
	s.wantExit(s.pgid, 0)
	s.do("stop")
	s.gone()
	if s.event(2, "stopped").Err != "" {
		t.Error("not a clean stop")
	}

	s = start(t, plan{Fault: "no signals"})
	s.signal(s.pgid, syscall.SIGHUP)
	s.wantExit(s.pgid, -int(syscall.SIGHUP))
}

func TestServeThatFailsStopsTheService(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	c, open := s.slow("slow")
	s.do("close listener")
	s.event(1, "failed, stopping")
	s.finishSlow(c, open)
	s.gone()
	s.wantExit(s.pgid, 1)
	if r := s.event(1, "stopped"); !strings.Contains(r.Err, "serve") {
		t.Error(r)
	}
}

// whole begins a service that is ListenAndServe, or with TLS, and no more, at a port that was free.
func whole(t *testing.T, p plan) *service {
	t.Helper()
	addr := freePort(t)
	p.Fault, p.Addr = "ListenAndServe", addr
	s := begin(t, p)
	record{Note: "listening " + addr}.tell(s)
	return s
}

func TestListenAndServeIsAWholeService(t *testing.T) {
	t.Parallel()
	s := whole(t, plan{})
	who := func(not int) int { // the first to answer that is another
		for timeout := time.After(hung); ; {
			if c, err := dial(s); err == nil {
				a, err := c.ask("GET", "/whoami", "")
				_ = c.Close()
				if err == nil && a.pid != not {
					return a.pid
				}
			}
			select {
			case <-time.After(5 * time.Millisecond):
			case <-timeout:
				t.Fatal("no answer")
			}
		}
	}
	if pid := who(0); pid != s.pgid {
		t.Errorf("pid %d answers", pid)
	}
	if a := s.get("/livez"); a.status != 200 {
		t.Errorf("%+v", a)
	}
	l := s.drive(4, time.Millisecond)
	s.signal(s.pgid, syscall.SIGHUP)
	pid := who(s.pgid)
	s.wantExit(s.pgid, 0)
	l.end()
	s.signal(pid, syscall.SIGTERM)
	s.gone()
	if code := s.exit(pid); code != 0 && code != unknownExit {
		t.Errorf("exit code %d", code)
	}
}

// Whoever has sent half a request, a scanner or a TLS client at the wrong port, must not make a stop last until
// DrainTimeout, and fail.
func TestListenAndServeGivesUpHalfARequest(t *testing.T) {
	t.Parallel()
	s := whole(t, plan{})
	var c *client
	for timeout := time.After(hung); ; {
		var err error
		if c, err = dial(s); err == nil {
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-timeout:
			t.Fatal("nobody listens")
		}
	}
	defer c.Close()
	if _, err := c.Write([]byte("\x16\x03\x01\x02")); err != nil {
		t.Fatal(err)
	}
	s.get("/livez") // accepted after the other, which so is, too
	s.signal(s.pgid, syscall.SIGTERM)
	s.gone()
	s.wantExit(s.pgid, 0)
}

func TestListenAndServeReturnsErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := begin(t, plan{Fault: "ListenAndServe", Addr: taken.Addr().String()})
	r := s.noteSince(0, 0, "error ")
	if !strings.Contains(r.Note, "in use") {
		t.Error(r)
	}
	s.gone()
	s.wantExit(s.pgid, 1)
}

// tell makes up a record for what the service can't say.
func (r record) tell(s *service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, r)
}
