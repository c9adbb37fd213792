package drain_test

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kept runs test with each way of having a keeper.
func kept(t *testing.T, test func(t *testing.T, how func(*service, *exec.Cmd))) {
	each(t, map[string]func(*service, *exec.Cmd){"PID 1": asPID1, "Config.Keeper": withKeeper}, test)
}

func withKeeper(s *service, _ *exec.Cmd) {
	s.plan.Keeper = true
	s.replan()
}

// asPID1 puts the service in a pid namespace.
func asPID1(s *service, cmd *exec.Cmd) {
	withKeeper(s, cmd) // which PID 1 of a test binary would not have
	if err := namespaces(); err != nil {
		s.Skipf("no pid namespaces, which need root and unshare of util-linux: %v", err)
	}
	s.apart = true
	cmd.Path = have(exec.LookPath("unshare"))(s)
	cmd.Args = append([]string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--", s.binary},
		cmd.Args[1:]...)
}

var namespaces = sync.OnceValue(func() error {
	cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--", "true")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w %s", err, out)
	}
	return nil
})

// keeper is the pid of the keeper, as the test sees it.
func (s *service) keeper() int {
	s.Helper()
	if !s.apart {
		return s.pgid
	}
	c := children(s.pgid)
	if len(c) != 1 {
		s.Fatalf("children of unshare: %v", c)
	}
	return c[0].pid
}

// sh lets the main generation run a script.
func (s *service) sh(script string) {
	s.Helper()
	s.get("/sh?do=" + url.QueryEscape(script))
}

// tellMain sends a request, whose answer is not waited for, to the main generation: the one before may take
// its last connections still.
func (s *service) tellMain(target string) {
	s.Helper()
	for main := s.main(); ; {
		c := s.connect()
		if a, err := c.ask("GET", "/whoami", ""); err != nil {
			s.Fatal(err)
		} else if a.pid == main.PID {
			_ = c.send("GET", target, "")
			return
		}
	}
}

func (s *service) wantKeeperExit(code int) {
	s.Helper()
	if got := s.exit(s.pgid); got != code {
		s.Errorf("the keeper's exit code is %d; want %d", got, code)
	}
	s.gone()
}

var swaps = flag.Int("swaps", 10, "how often TestKeeperStaysThroughSwapsUnderLoad swaps")

func TestKeeperStaysThroughSwapsUnderLoad(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		s := start(t, plan{}, how)
		keeper := s.keeper()
		l := s.drive(16, 4*time.Millisecond)
		for range *swaps {
			s.swapBy(s.keeper())
			l.settle()
		}
		l.end()
		s.Log(l.Counts())
		if s.keeper() != keeper {
			t.Error("another keeper")
		}
		s.eventually("two processes", func() bool { return len(children(keeper)) == 1 })
		s.signal(keeper, syscall.SIGTERM)
		s.wantKeeperExit(0)
		s.wantNothingLost()
		if r := s.event(*swaps+1, "stopped"); r.Err != "" {
			t.Error(r)
		}
	})
}

func TestKeeperReapsOrphans(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		s := start(t, plan{}, how)
		keeper := s.keeper()
		s.sh("for i in 1 2 3; do sleep 1000 & done")
		sleeps := func() []proc {
			return slices.DeleteFunc(children(keeper), func(p proc) bool { return p.name != "sleep" })
		}
		s.eventually("three orphans", func() bool { return len(sleeps()) == 3 })
		for _, p := range sleeps() {
			s.signal(p.pid, syscall.SIGKILL)
		}
		s.eventually("no zombie", func() bool { return len(sleeps()) == 0 })
		s.sh("for i in 1 2 3 4 5 6 7 8 9; do (true & true &) & done")
		s.swapBy(s.keeper())
		s.eventually("one child", func() bool { return len(children(keeper)) == 1 })

		s.sh("sleep 1000 &") // which holds nobody up
		s.eventually("an orphan", func() bool { return len(sleeps()) == 1 })
		left := sleeps()[0].pid
		defer func() { _ = syscall.Kill(left, syscall.SIGKILL) }()
		s.signal(keeper, syscall.SIGTERM)
		s.wantKeeperExit(0)
	})
}

func TestKeeperStopDrainsInFull(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		s := start(t, plan{}, how)
		s.swapBy(s.keeper())
		c, open := s.slow("slow")
		mark := s.mark()
		s.signal(s.keeper(), syscall.SIGTERM)
		s.eventSince(mark, 2, "draining")
		s.finishSlow(c, open)
		s.wantKeeperExit(0)
		s.wantNothingLost()
	})
}

func TestKeeperExitsAsTheServiceDid(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		type end struct {
			do    string
			swaps int
			code  int
		}
		each(t, map[string]end{
			"error":   {"/do?it=close+listener", 0, 1},
			"os.Exit": {"/exit?code=3", 1, 3},
			"signal":  {"/sh?do=kill+-9+$PPID", 1, 137},
		}, func(t *testing.T, end end) {
			s := start(t, plan{}, how)
			for range end.swaps {
				s.swapBy(s.keeper())
				s.event(2, "older generation is gone") // or it might get the request
			}
			s.tellMain(end.do)
			s.wantKeeperExit(end.code)
		})
	})
}

// The exit code of a main generation is its parent's to ask for, as long as that one drains.
func TestKeeperWaitsForTheOldAfterACrashOfTheMain(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		s := start(t, plan{DrainTimeout: 2 * hung}, how)
		c, open := s.slow("slow")
		s.swapBy(s.keeper())
		s.event(1, "replaced") // or it would serve on
		keeper := s.keeper()
		gen1 := children(keeper)[0].pid
		s.tellMain("/exit?code=3")
		s.eventually("nobody but the old", func() bool { return len(children(gen1)) == 0 })
		s.signal(keeper, syscall.SIGTERM) // goes to the old one, which has begun to drain already
		s.finishSlow(c, open)
		code := 3
		if older(6, 15) {
			code = 1 // the kernel can't tell
		}
		s.wantKeeperExit(code)
	})
}

// older tells whether the kernel is older than major.minor.
func older(major, minor int) bool {
	var name unix.Utsname
	_ = unix.Uname(&name)
	var a, b int
	_, _ = fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &a, &b)
	return a < major || a == major && b < minor
}

func TestKeeperThatCantStartSaysWhy(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		s := begin(t, plan{Fault: "no binary"}, how)
		s.wantIn(s.noteSince(0, 0, "error").Note, "Config.Keeper: ", "generation 1", s.binary, "no such file")
		s.wantKeeperExit(1)
	})
}

// A HUP before New kills a Go process, so that the keeper holds it back.
func TestKeeperHoldsSignalsUntilTheyAreHandled(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		s := begin(t, plan{}, how, atGate("before New"))
		open := s.opener(s.plan.Gate)
		first := s.noteSince(0, 0, "at the gate")
		open()
		s.await(0, "generation 1 at the gate", func(r record) bool {
			return r.Note == "at the gate" && r.PID != first.PID
		})
		s.signal(s.keeper(), syscall.SIGHUP)
		s.nextHas("") // of generation 2
		open()
		s.event(2, "promoted")
		s.signal(s.keeper(), syscall.SIGTERM)
		s.wantKeeperExit(0)
	})
}

// What main does before New, it does in generation 1: the keeper has nothing of it, and looks as the program does.
func TestNothingOfTheProgramIsInTheKeeper(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		s := start(t, plan{Fault: "works before New"}, how)
		keeper, mark := s.keeper(), s.mark()
		first := s.noteSince(0, 0, "begun").PID
		s.noteSince(mark, s.event(1, "ready").PID, "works on")
		for _, r := range s.since(mark) {
			if r.PID == first {
				t.Errorf("in the keeper: %v", r)
			}
		}
		for _, name := range []string{"comm", "cmdline"} {
			of := func(pid int) string { return string(have(os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name)))(t)) }
			if got, want := of(keeper), of(children(keeper)[0].pid); got != want {
				t.Errorf("%s is %q; want %q", name, got, want)
			}
		}
		s.signal(keeper, syscall.SIGTERM)
		s.wantKeeperExit(0)
	})
}

// A signal that comes while the keeper takes the program's place neither ends it nor is lost.
func TestSignalsWhileTheKeeperComes(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		for _, fault := range []string{"handles signals before New", "ignores HUP before New"} {
			s := begin(t, plan{Fault: fault}, how)
			first := s.noteSince(0, 0, "begun").PID
			s.noteSince(0, 0, "at New")
			keeper := s.keeper()
			s.eventually("generation 1", func() bool {
				for range 100 {
					s.signal(keeper, syscall.SIGHUP)
					if fault == "handles signals before New" {
						_ = syscall.Kill(keeper, syscall.SIGUSR1)
					}
				}
				return slices.ContainsFunc(s.since(0), func(r record) bool { return r.PID != first })
			})
			s.event(2, "promoted")
			s.signal(keeper, syscall.SIGTERM)
			s.wantKeeperExit(0)
		}
	})
}

// A shell, a terminal and pkill signal the keeper and the generations, in any order and with a delay: that counts once.
func TestSignalsToAllCountOnce(t *testing.T) {
	each(t, map[string]func(s *service, sig syscall.Signal){
		"the group": func(s *service, sig syscall.Signal) { s.signal(-s.pgid, sig) },
		"the keeper first": func(s *service, sig syscall.Signal) {
			main := s.main().PID // before it is replaced
			s.signal(s.pgid, sig)
			s.signal(main, sig)
		},
		"a keeper that is late": func(s *service, sig syscall.Signal) {
			s.signal(s.pgid, syscall.SIGSTOP)
			s.awaitState(s.pgid, "T")
			s.signal(-s.pgid, sig)
			s.noteSince(0, s.main().PID, "signal: "+unix.SignalName(sig))
			s.signal(s.pgid, syscall.SIGCONT)
		},
	}, func(t *testing.T, signal func(*service, syscall.Signal)) {
		s := start(t, plan{}, withKeeper)
		signal(s, syscall.SIGHUP)
		s.event(2, "older generation is gone")
		c, open := s.slow("slow")
		signal(s, syscall.SIGTERM)
		s.event(2, "draining")
		s.finishSlow(c, open)
		s.wantKeeperExit(0)
		s.wantNothingLost()
		for _, note := range []string{"signal: SIGHUP", "signal: SIGTERM"} {
			s.wantNotes(1, 0, note)
		}
	})
}

// Two that are sent to one process mean what they mean.
func TestTwoStopsToTheKeeperLeaveNow(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		s := start(t, plan{}, how)
		s.swapBy(s.keeper())
		s.slow("slow")
		s.signal(s.keeper(), syscall.SIGTERM)
		s.event(2, "draining")
		s.signal(s.keeper(), syscall.SIGTERM)
		s.event(2, "cut off")
		s.wantKeeperExit(1)
	})
}

// Nobody supervises a service whose keeper was killed, and the next one could not bind.
func TestKeeperKilledStopsTheService(t *testing.T) {
	s := start(t, plan{}, withKeeper)
	s.swapBy(s.keeper())
	c, open := s.slow("slow")
	s.signal(s.keeper(), syscall.SIGKILL)
	s.event(2, "draining")
	s.finishSlow(c, open)
	s.gone()
	if r := s.event(2, "stopped"); r.Err != "" {
		t.Error(r)
	}
}

// A supervisor sends KILL where TERM takes too long, and starts the service again.
func TestKeeperKilledInAStopCutsOff(t *testing.T) {
	for _, phase := range []string{"stopping", "draining"} {
		pullMin := map[string]time.Duration{"stopping": hung}[phase]
		s := start(t, plan{DrainTimeout: 2 * hung, PullMin: pullMin, PullMax: hung}, withKeeper)
		s.slow("slow")
		s.signal(s.keeper(), syscall.SIGTERM)
		s.event(1, phase)
		s.signal(s.keeper(), syscall.SIGKILL)
		s.event(1, "cut off")
		s.gone()
	}
}

func TestKeeperKilledInASwapStopsBoth(t *testing.T) {
	s := start(t, plan{}, withKeeper)
	s.beginSwapBy(s.keeper(), "in Ready")
	s.signal(s.keeper(), syscall.SIGKILL)
	s.event(1, "stopped")
	s.event(2, "stopped before it was ready")
	s.gone()
}
