package drain

import (
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
)

// Signals are the signals for each thing that a service can be told. A signal may be in one list only; one that is in
// none is the program's own, and this package neither handles nor logs it.
//
// HUP means "read the configuration again" to many programs, and USR1 "open the log files again" to logrotate. A
// program that handles these itself gives USR2 to Swap, as nginx has it, and pulls by the control socket: see the
// example.
//
// A SIGHUP that is ignored from the start of the process, as under nohup, stays ignored: swap by the control socket, or
// by another signal. A SIGHUP that comes as the terminal of the process is closed means Stop.
type Signals struct {
	// Each is the list of the signals that give this command; with an empty list no signal gives it.
	Swap, Pull, Restore, Stop []os.Signal
}

func (sets *Signals) all() []os.Signal {
	return slices.Concat(sets.Swap, sets.Pull, sets.Restore, sets.Stop)
}

// heeded returns those of all that get a handler.
func heeded(all []os.Signal) []os.Signal { return slices.DeleteFunc(slices.Clone(all), staysIgnored) }

// twice returns a signal that means two things, or nil.
func (sets *Signals) twice() os.Signal {
	all := sets.all()
	for i, sig := range all {
		if slices.Contains(all[:i], sig) {
			return sig
		}
	}
	return nil
}

// verb returns what sig asks for, or "".
func (sets *Signals) verb(sig os.Signal) machine.Verb {
	switch {
	case slices.Contains(sets.Swap, sig):
		return machine.Swap
	case slices.Contains(sets.Pull, sig):
		return machine.Pull
	case slices.Contains(sets.Restore, sig):
		return machine.Restore
	case slices.Contains(sets.Stop, sig):
		return machine.Stop
	}
	return ""
}

// endEarly lets a signal to stop end the process while New waits for another generation, until the function that it
// returns is called.
func (sets *Signals) endEarly() (over func()) {
	stop := heeded(sets.Stop)
	if len(stop) == 0 {
		return func() {}
	}
	early, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(early, stop...)
	go func() {
		select {
		case sig := <-early:
			resetAndRaise(sig)
		case <-done:
		}
	}()
	return func() { signal.Stop(early); close(done) }
}

// arrival is a signal, and when it came.
type arrival struct {
	os.Signal
	at     time.Time
	hangup bool // it tells that the terminal is closed
}

func (a arrival) same(b arrival) bool { return a.Signal == b.Signal && a.hangup == b.hangup }

// sameWish is how long after a signal to stop another one is the same command. For timeout(1) signals its child and
// then its group, and a wrapper forwards a Ctrl-C that the terminal has sent to both. A later one means: exit now.
var sameWish = 100 * time.Millisecond

// signals are those that have come, in order.
type signals struct {
	*copies
	sets     *Signals
	in       chan os.Signal
	arrivals chan arrival
	ended    <-chan struct{}
}

func newSignals(sets *Signals, ended <-chan struct{}) *signals {
	return &signals{
		copies: newCopies(), sets: sets, in: make(chan os.Signal, 16), arrivals: make(chan arrival), ended: ended,
	}
}

// watch installs the handlers. From here on a signal is remembered until the loop handles it.
func (s *signals) watch() {
	if all := heeded(s.sets.all()); len(all) > 0 { // Notify without signals would mean all of them
		signal.Notify(s.in, all...)
		go s.take()
	}
}

func (s *signals) stop() { signal.Stop(s.in) }

// take keeps room in s.in, for os/signal drops what finds none: a TERM after a storm of
// HUPs, before New has returned. What waits for the loop keeps its order and its time.
func (s *signals) take() {
	var waiting []arrival
	terminal, stop := openTerminal()
	defer stop()
	for {
		var out chan<- arrival
		var first arrival
		if len(waiting) > 0 {
			out, first = s.arrivals, waiting[0]
		}
		select {
		case <-terminal.look:
			terminal.watch()
		case sig := <-s.in:
			if now := time.Now(); s.came(sig, now) {
				waiting = s.sets.remember(waiting, arrival{sig, now, terminal.hangsUp(sig)})
			}
		case out <- first:
			waiting = waiting[1:]
		case <-s.ended:
			return
		}
	}
}

// remember adds a signal, unless the last ones say the same: a storm takes no memory. Two to stop say more than one.
func (sets *Signals) remember(waiting []arrival, a arrival) []arrival {
	enough := 1
	if sets.verb(a.Signal) == machine.Stop {
		enough = 2
		if slices.ContainsFunc(waiting, func(w arrival) bool {
			return sets.verb(w.Signal) == machine.Stop && a.at.Sub(w.at) < sameWish
		}) {
			return waiting
		}
	}
	same := 0
	for same < len(waiting) && waiting[len(waiting)-1-same].same(a) {
		same++
	}
	if same >= enough {
		return waiting
	}
	return append(waiting, a)
}
