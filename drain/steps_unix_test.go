//go:build unix

package drain_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/internal/machine"
	"golang.org/x/sys/unix"
)

// What tests do to a service, step by step.

// nextHas gives the generations to come that fault, "" is none.
func (s *service) nextHas(fault string) {
	s.Helper()
	s.plan.Fault, s.plan.Gate = fault, ""
	s.replan()
}

// nextAt makes the generations to come wait at that step until open is called.
func (s *service) nextAt(step string) (open func()) {
	s.Helper()
	atGate(step)(s, nil)
	return s.opener(s.plan.Gate)
}

// startAt starts a service which waits when it comes to that step, until open is called. The
// generations after it don't.
func startAt(t testing.TB, step string, p plan, tweaks ...func(*service, *exec.Cmd)) (s *service, open func()) {
	t.Helper()
	s = start(t, p, append(tweaks, atGate(step))...)
	open = s.opener(s.plan.Gate)
	s.nextHas("")
	return s, open
}

// hold is startAt of a step before the service is ready, at which it has arrived.
func hold(t testing.TB, at string, p plan) (s *service, open func()) {
	t.Helper()
	s = begin(t, p, atGate(at))
	s.noteSince(0, 0, "at the gate")
	open = s.opener(s.plan.Gate)
	s.nextHas("")
	return s, open
}

// signal sends a signal.
func (s *service) signal(pid int, sig syscall.Signal) {
	s.Helper()
	if sig == syscall.SIGUSR1 { // a pull may have been sent a moment ago
		notAtOnce()
	}
	if err := syscall.Kill(pid, sig); err != nil {
		s.Fatalf("signal %v to %d: %v", sig, pid, err)
	}
}

// tell sends a signal and waits until the service has it in hand.
func (s *service) tell(pid int, sig syscall.Signal) {
	s.Helper()
	mark := s.mark()
	s.signal(pid, sig)
	s.noteSince(mark, pid, "signal: "+unix.SignalName(sig))
}

// byPIDFile sends a signal as a script does. The process must be there.
func (s *service) byPIDFile(sig syscall.Signal) {
	s.Helper()
	if sig == syscall.SIGUSR1 { // as in signal
		notAtOnce()
	}
	for again := true; again; {
		mark, begun := s.mark(), time.Now()
		text := have(os.ReadFile(s.plan.PIDFile))(s)
		pid := have(strconv.Atoi(strings.TrimSpace(string(text))))(s)
		err := syscall.Kill(pid, sig)
		slow := time.Since(begun) > machine.LeastLinger
		if err != nil && !slow {
			s.Errorf("%v to %d: %v", sig, pid, err)
		}
		again = slow && (err != nil || s.tooLate(mark, pid, sig))
	}
}

// tooLate tells whether a sender that was slow has sent its signal to a process that was replaced, and stayed for less.
func (s *service) tooLate(mark, pid int, sig syscall.Signal) bool {
	s.Helper()
	text, err := os.ReadFile(s.plan.PIDFile)
	if err != nil || strings.TrimSpace(string(text)) == strconv.Itoa(pid) {
		return false
	}
	return s.await(mark, "the signal, or the end of the process", func(r record) bool {
		return r.Note == "signal: "+unix.SignalName(sig) || r.Msg == "older generation is gone"
	}).Note == ""
}

// swap swaps once and returns the new generation.
func (s *service) swap() record { s.Helper(); return s.swapBy(s.main().PID) }

// swapBy swaps by a signal to that process.
func (s *service) swapBy(pid int) record {
	s.Helper()
	mark, from := s.mark(), s.main()
	s.signal(pid, syscall.SIGHUP)
	r := s.await(mark, "a swap", func(r record) bool { return r.Msg == "promoted" || r.Msg == "swap failed" })
	if r.Msg != "promoted" || r.Gen != from.Gen+1 {
		s.Fatalf("swap: %v", r)
	}
	return r
}

// failedSwap begins a swap which is to fail, with these words as the reason.
func (s *service) failedSwap(words ...string) record {
	s.Helper()
	mark, from := s.mark(), s.main()
	s.signal(from.PID, syscall.SIGHUP)
	r := s.eventSince(mark, from.Gen, "swap failed")
	s.wantIn(r.Err, words...)
	ours, _, _ := strings.Cut(r.Err, "it said last")
	wantNoStutter(s, ours)
	return r
}

// failSwap is failedSwap for that fault of the next generation. Those after it have none.
func (s *service) failSwap(fault string, words ...string) record {
	s.Helper()
	s.nextHas(fault)
	defer s.nextHas("")
	return s.failedSwap(words...)
}

// beginSwap begins a swap to a generation that waits at that step until open is called. Those after it don't.
func (s *service) beginSwap(at string) (open func()) {
	s.Helper()
	return s.beginSwapBy(s.main().PID, at)
}

// beginSwapBy is beginSwap by a signal to that process.
func (s *service) beginSwapBy(pid int, at string) (open func()) {
	s.Helper()
	open = s.nextAt(at)
	mark := s.mark()
	s.signal(pid, syscall.SIGHUP)
	s.noteSince(mark, 0, "at the gate")
	s.nextHas("")
	return open
}

// haltAtReady begins a swap, and halts the old generation while the new one tells it that it is ready.
func (s *service) haltAtReady() (child int) {
	s.Helper()
	open := s.beginSwap("in Ready")
	s.halt(s.pgid)
	open()
	child = s.event(2, "proven").PID
	s.settle(child)
	return child
}

// stoppedAtReady starts a service whose first generation is halted while the second tells it that it is ready.
func stoppedAtReady(t testing.TB, p plan, tweaks ...func(*service, *exec.Cmd)) (s *service, child int) {
	t.Helper()
	s = start(t, p, tweaks...)
	return s, s.haltAtReady()
}

// pull sends the main generation a pull, and waits until it has heeded it.
func (s *service) pull() {
	s.Helper()
	mark, main := s.mark(), s.main()
	s.signal(main.PID, syscall.SIGUSR2)
	s.eventSince(mark, main.Gen, "pulled")
}

// pullOver waits until a pull waits for the balancers no longer, however that has ended.
func (s *service) pullOver(mark, gen int) record {
	s.Helper()
	return s.await(mark, "the end of a pull's wait", func(r record) bool { return r.Gen == gen && endsWait(r) })
}

func endsWait(r record) bool {
	return r.Kind == drain.EventPullNoticed || r.Kind == drain.EventPullOverdue || r.Kind == drain.EventPullUnasked
}

// restore ends a pull.
func (s *service) restore() {
	s.Helper()
	mark, main := s.mark(), s.main()
	s.signal(main.PID, syscall.SIGUSR1)
	s.eventSince(mark, main.Gen, "restored")
}

// halt halts a process, and returns when it is.
func (s *service) halt(pid int) {
	s.Helper()
	s.signal(pid, syscall.SIGSTOP)
	s.awaitState(pid, "T")
}

// settle waits until all threads of the process sleep: what it has to say to another one is on the link by then, which
// no event tells.
func (s *service) settle(pid int) {
	s.Helper()
	asleep := 0
	s.eventually(fmt.Sprintf("process %d asleep", pid), func() bool {
		threads := have(filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid)))(s) // none where there is no /proc
		for _, thread := range threads {
			state, _ := os.ReadFile(thread)
			if _, after, _ := strings.Cut(string(state), ") "); strings.HasPrefix(after, "R") {
				asleep = 0
				return false
			}
		}
		asleep++
		return asleep > 4 // one thread may wake another that was looked at before
	})
}

// awaitState waits until the process is in that state of ps.
func (s *service) awaitState(pid int, want string) {
	s.Helper()
	s.eventually(fmt.Sprintf("process %d in state %s", pid, want), func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if _, after, ok := strings.Cut(string(state), ") "); ok {
			state = []byte(after)
		} else if err != nil { // no /proc here
			state = have(exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output())(s)
		}
		return strings.HasPrefix(string(state), want)
	})
}

// wait is a client that has sent a request, and waits for whichever process may answer it.
func (s *service) wait() *client {
	s.Helper()
	c := s.connect()
	must(s, c.send("POST", "/echo", "patience"))
	return c
}

// kill kills a process and waits until it is gone.
func (s *service) kill(pid int) {
	s.Helper()
	s.signal(pid, syscall.SIGKILL)
	s.exit(pid)
}

// status is what the main generation says of itself.
func (s *service) status() (st drain.Status) {
	s.Helper()
	must(s, json.Unmarshal([]byte(s.do("status")), &st))
	return st
}

// eventualStatus waits until the main generation's status is so.
func (s *service) eventualStatus(what string, is func(drain.Status) bool) (st drain.Status) {
	s.Helper()
	s.eventually(what, func() bool { st = s.status(); return is(st) })
	return st
}

// settled waits until the service consists of one generation, which is in that phase, or one of these.
func (s *service) settled(phases ...drain.Phase) {
	s.Helper()
	s.eventually(fmt.Sprintf("one process that is %v", phases), func() bool {
		if !s.isAlone(s.main().PID) {
			return false
		}
		st := s.status()
		for _, phase := range phases {
			if st.Phase == phase && len(st.Older) == 0 {
				return true
			}
		}
		return false
	})
}

// stop stops the service and wants everybody gone, and no PID file.
func (s *service) stop() {
	s.Helper()
	pid := s.main().PID
	s.signal(pid, syscall.SIGTERM)
	s.gone()
	if code := s.exit(pid); code != 0 && code != unknownExit {
		s.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(s.plan.PIDFile); err == nil {
		s.Error("the PID file is left")
	}
}
