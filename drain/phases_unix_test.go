//go:build unix

package drain_test

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// The tests here and in swapping_unix_test.go are the table of what a signal does in which phase, cell by cell.

// hold starts a service that stays in starting until open is called. The generations after it don't.
func hold(t testing.TB, at string, p plan) (s *service, open func()) {
	t.Helper()
	s = begin(t, p, atGate(at))
	s.noteSince(0, 0, "at the gate")
	open = s.opener(s.plan.Gate)
	s.plan.Fault, s.plan.Gate = "", ""
	s.replan()
	return s, open
}

func (s *service) wantPing(status int) {
	s.Helper()
	if a := s.get("/ping"); a.status != status {
		s.Errorf("/ping answers %d; want %d", a.status, status)
	}
}

func (s *service) wantExit(pid, code int) {
	s.Helper()
	if got := s.exit(pid); got != code {
		s.Errorf("exit code %d; want %d", got, code)
	}
}

// wantNone wants no event with that message after mark.
func (s *service) wantNone(mark int, msg string) {
	s.Helper()
	for _, r := range s.since(mark) {
		if r.Note == "" && r.Msg == msg {
			s.Errorf("there is an event too many: %v", r)
		}
	}
}

// wantEnd wants the service to end, by itself, with that exit code of generation 1 and something in its last error.
func (s *service) wantEnd(code int, reason string) {
	s.Helper()
	s.gone()
	s.wantExit(s.pgid, code)
	all := s.since(0)
	for _, r := range all {
		if r.Phase == drain.Stopped && r.Gen == 1 && strings.Contains(r.Err, reason) && (reason != "" || r.Err == "") {
			return
		}
	}
	s.Errorf("no last event with %q", reason)
}

func TestStartingRemembersHUP(t *testing.T) {
	t.Parallel()
	s, open := hold(t, "in Ready", plan{})
	s.tell(s.pgid, syscall.SIGHUP)
	s.tell(s.pgid, syscall.SIGHUP)
	open()
	s.event(1, "ready")
	s.event(2, "promoted")
	s.stop()
	s.wantNone(0, "swap failed")
	if got := s.main().Gen; got != 2 {
		t.Errorf("generation %d; want one swap", got)
	}
}

func TestStartingPulledByUSR2(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"before Run", "in Ready"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s, open := hold(t, at, plan{})
			s.tell(s.pgid, syscall.SIGUSR2)
			open()
			if r := s.event(1, "pulled"); r.Phase != drain.Pulled {
				t.Error(r)
			}
			s.wantPing(501)
			s.stop()
			for _, r := range s.since(0) {
				if r.Note == "join" {
					t.Error("joined although pulled")
				}
			}
		})
	}
}

func TestStartingIgnoresUSR1(t *testing.T) {
	t.Parallel()
	s, open := hold(t, "in Ready", plan{})
	s.tell(s.pgid, syscall.SIGUSR1)
	open()
	s.event(1, "ready")
	s.wantPing(200)
	s.stop()
}

func TestStartingStopsAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at   string
		sig  syscall.Signal
		code int
	}{
		{"before Run", syscall.SIGTERM, -int(syscall.SIGTERM)}, // the program is busy elsewhere
		{"before Run", syscall.SIGINT, -int(syscall.SIGINT)},
		{"in Ready", syscall.SIGTERM, 0},
		{"in Ready", syscall.SIGINT, 0},
	} {
		t.Run(c.at+" "+c.sig.String(), func(t *testing.T) {
			t.Parallel()
			s, _ := hold(t, c.at, plan{})
			s.signal(s.pgid, c.sig)
			s.wantEnd(c.code, "")
		})
	}
}

// A shell that starts a service with "&" has it ignore SIGINT, and nohup SIGHUP.
func TestAnIgnoredSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := begin(t, plan{}, atGate("before Run"), func(s *service, cmd *exec.Cmd) {
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `trap "" INT; exec "$0"`, s.binary}
	})
	s.noteSince(0, 0, "at the gate")
	s.signal(s.pgid, syscall.SIGINT)
	s.wantEnd(128+int(syscall.SIGINT), "")
}

func TestReadyIsPulledAndRestoredBySignals(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	mark := s.mark()
	s.tell(s.pgid, syscall.SIGUSR1)
	s.wantNone(mark, "restored")
	s.wantPing(200)
	for range 2 {
		mark = s.mark()
		s.signal(s.pgid, syscall.SIGUSR2)
		s.eventSince(mark, 1, "pull noticed")
		s.noteSince(mark, 0, "leave")
		s.wantPing(501)
		again := s.mark()
		s.tell(s.pgid, syscall.SIGUSR2)
		s.wantPing(501)
		s.wantNone(again, "pulled")
		s.signal(s.pgid, syscall.SIGUSR1)
		if r := s.eventSince(mark, 1, "restored"); r.Phase != drain.Ready {
			t.Error(r)
		}
		s.noteSince(mark, 0, "join")
		s.wantPing(200)
	}
	s.stop()
}

func TestReadyStopsByWayOfLameDuck(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := start(t, plan{})
			s.signal(s.pgid, sig)
			s.wantEnd(0, "")
			var phases []string
			for _, r := range s.since(0) {
				if r.Note == "" && r.Msg != "pull noticed" {
					phases = append(phases, string(r.Phase))
				}
			}
			if got := strings.Join(phases, " "); got != "starting ready pulled draining stopped" {
				t.Error(got)
			}
		})
	}
}

func TestPulledEndsWithAnUpgrade(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		s := start(t, plan{KeepPull: keep})
		s.signal(s.pgid, syscall.SIGUSR2)
		s.event(1, "pulled")
		notAtOnce()
		mark := s.mark()
		s.wantAlone(s.swap().PID) // or the old one might answer still
		if keep {
			s.event(2, "pulled")
			s.wantPing(501)
		} else {
			s.wantPing(200)
			// Leave has been called, and nobody else will undo it.
			s.noteSince(mark, s.main().PID, "join")
			s.wantNone(mark, "pulled")
		}
		s.stop()
	}
}

func TestPulledAndNoticedDrainsNow(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	s.signal(s.pgid, syscall.SIGUSR2)
	s.event(1, "pull noticed")
	mark := s.mark()
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantEnd(0, "")
	s.wantNone(mark, "stopping")
	s.wantNone(mark, "pulled")
}

func TestPulledButNotNoticedFinishesTheLameDuck(t *testing.T) {
	t.Parallel()
	s := start(t, plan{PullMin: time.Hour, PullMax: 2 * time.Hour})
	s.signal(s.pgid, syscall.SIGUSR2)
	s.event(1, "pulled")
	l := s.drive(2, time.Millisecond)
	s.tell(s.pgid, syscall.SIGTERM)
	s.tell(s.pgid, syscall.SIGUSR1) // too late for a change of mind
	s.tell(s.pgid, syscall.SIGHUP)
	s.noteSince(0, s.pgid, "swap refused: the service is stopping")
	l.end()
	s.wantPing(501)
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantEnd(1, "asked twice")
}

func TestDrainingIgnoresAllButASecondStop(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	c, _ := s.slow("slow")
	s.signal(s.pgid, syscall.SIGTERM)
	s.event(1, "draining")
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
		s.tell(s.pgid, sig)
	}
	s.noteSince(0, s.pgid, "swap refused")
	if got := s.since(0); got[len(got)-1].Phase == drain.Stopped {
		t.Error("stopped too soon")
	}
	s.signal(s.pgid, syscall.SIGINT)
	s.wantEnd(1, "asked twice: cut off 1 active connection(s)")
	if a, err := c.receive(); err == nil {
		t.Errorf("the request that was cut off has an answer: %+v", a)
	}
}

func TestDrainingFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	s := start(t, plan{IdleGrace: hung})
	c, open := s.slow("slow")
	s.signal(s.pgid, syscall.SIGTERM)
	s.event(1, "draining")
	s.tell(s.pgid, syscall.SIGHUP)
	if a := s.finishSlow(c, open); !a.close { // its header was made before
		if a, err := c.ask("POST", "/echo", "more"); err != nil || a.body != "more" || !a.close {
			t.Errorf("the last answer is %+v, %v; want it to say Connection: close", a, err)
		}
	}
	s.wantEnd(0, "")
}

func TestReplacedGenerationIsCutOffByTwoSignals(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	c, _ := s.slow("slow")
	s.swap()
	s.event(1, "replaced")
	<-time.After(forwarding)
	s.tell(s.pgid, syscall.SIGTERM)
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantExit(s.pgid, 1)
	if a, err := c.receive(); err == nil {
		t.Errorf("the request that was cut off has an answer: %+v", a)
	}
	s.wantPIDFile(s.main().PID)
	s.stop()
}

func TestDrainTimeoutReportsWhatIsCutOff(t *testing.T) {
	t.Parallel()
	s := begin(t, plan{DrainTimeout: time.Second, Worker: true}, atGate("slow work"))
	s.event(1, "ready")
	s.slow("slow")
	h := s.connect()
	if a, err := h.ask("GET", "/hijack", ""); err != nil {
		t.Fatal(a, err)
	}
	s.noteSince(0, 0, "work begun")
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantEnd(1, "DrainTimeout (1s) is over: cut off 1 active, 1 hijacked connection(s); background work: worker")
}
