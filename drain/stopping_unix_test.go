//go:build unix

package drain_test

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStartingStopsAtOnce(t *testing.T) {
	type row struct {
		at   string
		sig  syscall.Signal
		code int
	}
	eachOf(t, func(t *testing.T, c row) {
		s, _ := hold(t, c.at, plan{})
		s.signal(s.pgid, c.sig)
		s.wantEnd(c.code, "")
		s.wantGone(0)
	}, row{"before Run", term, -int(term)}, // the program is busy elsewhere
		row{"before Run", syscall.SIGINT, -int(syscall.SIGINT)},
		row{"in Ready", term, 0}, row{"in Ready", syscall.SIGINT, 0})
}

func TestReadyStopsByWayOfLameDuck(t *testing.T) {
	eachOf(t, func(t *testing.T, sig syscall.Signal) {
		s := start(t, plan{})
		s.signal(s.pgid, sig)
		s.wantEnd(0, "")
		var phases []string
		for _, r := range s.since(0) {
			if r.Note == "" && !endsWait(r) {
				phases = append(phases, string(r.Phase))
			}
		}
		if got := strings.Join(phases, " "); got != "starting ready pulled draining stopped" {
			t.Error(got)
		}
	}, term, syscall.SIGINT)
}

func TestPulledAndNoticedDrainsNow(t *testing.T) {
	s := start(t, plan{})
	s.pull()
	s.pullOver(0, 1)
	mark := s.mark()
	s.signal(s.pgid, term)
	s.wantEnd(0, "")
	s.wantNone(mark, "stopping")
	s.wantNone(mark, "pulled")
}

func TestPulledButNotNoticedFinishesTheLameDuck(t *testing.T) {
	s := start(t, plan{PullMin: time.Hour, PullMax: 2 * time.Hour})
	s.pull()
	l := s.drive(2, time.Millisecond)
	s.tell(s.pgid, term)
	s.tell(s.pgid, restore) // too late for a change of mind
	s.tell(s.pgid, hup)
	s.noteSince(0, s.pgid, "swap refused: the service is stopping")
	l.end()
	s.wantPing(501)
	s.signal(s.pgid, term)
	s.wantEnd(1, "asked twice")
}

func TestDrainingFinishesWhatIsInFlight(t *testing.T) {
	s := start(t, plan{IdleGrace: hung})
	c, open := s.slow("slow")
	s.signal(s.pgid, term)
	s.event(1, "draining")
	s.tell(s.pgid, hup)
	s.wantGone(0)
	if a := s.finishSlow(c, open); !a.close && !s.wantAnswerOn(c, s.pgid) { // its header was made before
		t.Error("the last answer does not say Connection: close")
	}
	s.wantEnd(0, "")
	s.wantGone(1)
	s.wantOrder(told(1, "draining"), noted(1, "gone"), told(1, "stopped"))
}

func TestDrainingIgnoresAllButASecondStop(t *testing.T) {
	s := start(t, plan{})
	c, _ := s.slow("slow")
	s.signal(s.pgid, term)
	s.event(1, "draining")
	for _, sig := range []syscall.Signal{hup, restore, pull} {
		s.tell(s.pgid, sig)
	}
	s.noteSince(0, s.pgid, "swap refused")
	s.wantNone(0, "stopped")
	s.signal(s.pgid, syscall.SIGINT)
	s.wantEnd(1, "asked twice: cut off 1 active connection(s)")
	s.wantCutOff(c)
	s.wantGone(0)
}

func TestReplacedGenerationIsCutOffByTwoSignals(t *testing.T) {
	s := start(t, plan{})
	c, _ := s.slow("slow")
	s.swap()
	s.event(1, "replaced")
	<-time.After(forwarding)
	s.tell(s.pgid, term)
	s.signal(s.pgid, term)
	s.wantExit(s.pgid, 1)
	s.wantCutOff(c)
	s.wantPIDFile(s.main().PID)
	s.stop()
}

// What lasts longer than DrainTimeout is cut off, and the error says what it was.
func TestDrainTimeoutReportsWhatIsCutOff(t *testing.T) {
	type row struct {
		plan plan
		busy func(s *service)
		rest string
	}
	each(t, map[string]row{
		"a request, a connection and work": {plan{Worker: true, Fault: "slow work"},
			func(s *service) { s.slow("slow"); s.lingering() },
			"1 active, 1 hijacked connection(s); background work: worker"},
		"work": {plan{Worker: true, Fault: "slow work"},
			func(*service) {},
			"nothing; background work: worker"},
		"a connection of a graceful server": {plan{Polite: true},
			func(s *service) {
				c := s.guest()
				c.send()
				c.want(s.pgid)
			},
			"1 other connection(s)"},
		// Work that goes on when the connections are cut off is told, and has a moment.
		"a request, and work that ends then": {plan{Jobs: t.TempDir(), Worker: true},
			func(s *service) { s.slow("slow") },
			"1 active connection(s)"},
	}, func(t *testing.T, c row) {
		c.plan.DrainTimeout = 500 * time.Millisecond
		s := begin(t, c.plan, func(s *service, _ *exec.Cmd) {
			if c.plan.Fault != "" {
				s.nextAt(c.plan.Fault)
			}
		})
		s.event(1, "ready")
		if c.plan.Worker {
			s.noteSince(0, 0, "work begun")
		}
		c.busy(s)
		s.signal(s.pgid, term)
		s.wantEnd(1, "DrainTimeout (500ms) is over: cut off "+c.rest)
		s.wantGone(1)
		if c.plan.Jobs != "" {
			s.wantOrder(told(1, "draining"), noted(1, "queue ended"), told(1, "cut off"))
			s.wantOrder(told(1, "draining"), noted(1, "work ended"), told(1, "cut off"))
		}
	})
}

func TestSwappingStopsChildAndService(t *testing.T) {
	type row struct {
		fault, note string
		sig         syscall.Signal
		group       bool
	}
	each(t, map[string]row{
		"TERM":                           {"in Ready", "at the gate", term, false},
		"INT":                            {"in Ready", "at the gate", syscall.SIGINT, false},
		"INT to the group":               {"in Ready", "at the gate", syscall.SIGINT, true},
		"child that does not stop":       {"hang at start", "begun", term, false},
		"Preflight":                      {"hang in Preflight", "preflight hangs", term, false},
		"Preflight that ends for no ctx": {"deaf in Preflight", "preflight hangs", term, false},
	}, func(t *testing.T, c row) {
		s := start(t, plan{SwapTimeout: time.Hour})
		slow, open := s.slow("slow")
		mark, pid := s.mark(), s.pgid
		if c.note == "at the gate" {
			s.nextAt(c.fault)
		} else {
			s.nextHas(c.fault)
		}
		s.signal(s.pgid, hup)
		s.noteSince(mark, 0, c.note)
		if c.group {
			pid = -pid
		}
		s.signal(pid, c.sig)
		s.wantIn(s.event(1, "swap failed").Err, "the service is to stop")
		s.event(1, "draining")
		s.finishSlow(slow, open)
		s.wantEnd(0, "")
		s.wantGone(1)
	})
}

func TestSwappingTwiceTermKillsTheChild(t *testing.T) {
	s := start(t, plan{})
	s.slow("slow")
	s.nextHas("hang at start")
	mark := s.mark()
	s.signal(s.pgid, hup)
	s.noteSince(mark, 0, "begun")
	s.tell(s.pgid, term)
	s.signal(s.pgid, term)
	s.wantEnd(1, "asked twice: cut off 1 active connection(s)")
}

// What sends a stop twice in one moment means one: timeout(1), a wrapper that forwards a Ctrl-C, a service manager
// that signals main process and group. A request that is under way is answered, and the exit code is 0.
func TestTwoStopsInOneMomentAreOne(t *testing.T) {
	const intr = syscall.SIGINT
	each(t, map[string]func(s *service, pid int){
		"TERM twice": func(s *service, pid int) { s.signal(pid, term); s.signal(pid, term) },
		"five times": func(s *service, pid int) {
			for range 5 {
				s.signal(pid, intr)
			}
		},
		"INT and TERM":                   func(s *service, pid int) { s.signal(pid, intr); s.signal(pid, term) },
		"the process and then its group": func(s *service, pid int) { s.signal(pid, term); s.signal(-s.pgid, term) },
		"when it has heard the first":    func(s *service, pid int) { s.tell(pid, term); s.signal(pid, term) },
		"a pull between": func(s *service, pid int) {
			s.tell(pid, term)
			s.tell(pid, pull)
			s.signal(pid, term)
		},
		"kill(1) of a group that has one process": func(s *service, pid int) {
			out, err := exec.Command("sh", "-c", "kill -TERM $0; kill -TERM -$0", strconv.Itoa(pid)).CombinedOutput()
			if err != nil {
				s.Fatalf("%v: %s", err, out)
			}
		},
	}, func(t *testing.T, send func(s *service, pid int)) {
		for _, swapping := range []bool{false, true} {
			s := start(t, plan{SameWish: hung}) // a busy machine takes its time between two signals
			c, open := s.slow("slow")
			if swapping {
				s.beginSwap("in Ready")
			}
			send(s, s.pgid)
			s.event(1, "draining")
			s.finishSlow(c, open)
			s.wantEnd(0, "")
		}
	})
}

// The same of a generation that was replaced, and does not forward any more.
func TestTwoStopsOfAnOldGenerationAreOne(t *testing.T) {
	s := start(t, plan{SameWish: hung})
	c, open := s.slow("slow")
	s.swap()
	s.event(1, "replaced")
	<-time.After(forwarding)
	s.tell(s.pgid, term)
	s.signal(s.pgid, term)
	s.finishSlow(c, open)
	s.event(1, "stopped")
	s.stop()
	s.wantExit(s.pgid, 0)
}

// One that comes later asks to leave now, how ever many have come with the first.
func TestASecondStopLaterLeavesNow(t *testing.T) {
	const window = 100 * time.Millisecond // from the first
	s := start(t, plan{SameWish: window})
	s.slow("slow")
	s.tell(s.pgid, term)
	s.signal(s.pgid, term)
	s.event(1, "draining")
	<-time.After(window + window/10)
	_ = syscall.Kill(s.pgid, term) // on a busy machine the second has come too late, and was the one that leaves now
	s.wantEnd(1, "asked twice: cut off 1 active connection(s)")
}

// A client that heeds Connection: close gets an answer to everything it sends.
func TestStopUnderLoadAnswersWhatArrives(t *testing.T) {
	s := start(t, plan{IdleGrace: patient})
	last := s.untilLast(16)
	s.signal(s.pgid, term)
	last()
	s.wantEnd(0, "")
	s.wantNothingLost()
}

func TestStopWaitsForLeave(t *testing.T) {
	s, open := startAt(t, "slow leave", plan{PullMax: hung})
	s.signal(s.pgid, term)
	s.event(1, "stopping")
	s.noteSince(0, 0, "at the gate")
	s.pullOver(0, 1)
	if a := s.get("/whoami"); a.status != 200 {
		t.Errorf("%+v", a)
	}
	s.wantNone(0, "draining")
	open()
	s.wantEnd(0, "")
	s.wantOrder(told(1, "stopping"), noted(1, "left"), told(1, "draining"), told(1, "stopped"))
}

func TestServeThatFailsStopsTheService(t *testing.T) {
	s := start(t, plan{})
	c, open := s.slow("slow")
	s.do("close listener")
	s.event(1, "failed, stopping")
	s.finishSlow(c, open)
	s.gone()
	s.wantExit(s.pgid, 1)
	s.wantIn(s.event(1, "stopped").Err, "serve")
}

// A server of the old generation that fails while the next one gets ready: that is no reason to stop it.
func TestAServerOfTheOldFailsInASwap(t *testing.T) {
	each(t, map[string]bool{"that succeeds": true, "that fails": false}, func(t *testing.T, succeeds bool) {
		s := start(t, plan{})
		c := s.connect()
		open := s.beginSwap("in Ready")
		if a, err := c.ask("POST", "/do?it=close+listener", ""); err != nil || a.status != 200 {
			t.Fatal(a, err)
		}
		s.event(1, "failed while swapping")
		if !succeeds {
			s.kill(s.noteSince(0, 0, "at the gate").PID)
			s.wantEnd(1, "use of closed network connection")
			return
		}
		open()
		child := s.event(2, "promoted")
		s.event(2, "older generation is gone")
		s.wantServed(child.PID)
	})
}

// A shell that starts a service with "&" has it ignore SIGINT, and nohup SIGHUP.
func TestAnIgnoredSignalStopsAtOnce(t *testing.T) {
	s := begin(t, plan{}, atGate("before Run"), func(s *service, cmd *exec.Cmd) {
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `trap "" INT; exec "$0"`, s.binary}
	})
	s.noteSince(0, 0, "at the gate")
	s.signal(s.pgid, syscall.SIGINT)
	s.wantEnd(128+int(syscall.SIGINT), "")
}
