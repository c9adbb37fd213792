package drain

import (
	"os"
	"os/signal"
	"slices"
	"time"
)

func (sets *Signals) all() []os.Signal {
	return slices.Concat(sets.Swap, sets.Pull, sets.Restore, sets.Stop)
}

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

// heedEarly lets a signal to stop end the process while New waits for another generation, until the function that it
// returns is called.
func (s *Service) heedEarly() (over func()) {
	if !inherits() || len(s.cfg.Signals.Stop) == 0 {
		return func() {}
	}
	early, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(early, s.cfg.Signals.Stop...)
	go func() {
		select {
		case sig := <-early:
			raise(sig)
		case <-done:
		}
	}()
	return func() { signal.Stop(early); close(done) }
}

// arrival is a signal, and when it came.
type arrival struct {
	os.Signal
	at time.Time
}

// watch installs the handlers. From here on a signal is remembered until the loop handles it.
func (s *Service) watch() {
	if all := s.cfg.Signals.all(); len(all) > 0 { // Notify without signals would mean all of them
		signal.Notify(s.signals, all...)
		go s.takeSignals()
	}
}

// takeSignals keeps room in s.signals, for os/signal drops what finds none: a TERM after a storm of
// HUPs, before New has returned. What waits for the loop keeps its order and its time.
func (s *Service) takeSignals() {
	var waiting []arrival
	for {
		var out chan<- arrival
		var first arrival
		if len(waiting) > 0 {
			out, first = s.arrivals, waiting[0]
		}
		select {
		case sig := <-s.signals:
			waiting = s.cfg.Signals.remember(waiting, arrival{sig, time.Now()})
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
	if sets.verb(a.Signal) == verbStop {
		enough = 2
		if slices.ContainsFunc(waiting, func(w arrival) bool {
			return sets.verb(w.Signal) == verbStop && a.at.Sub(w.at) < sameWish
		}) {
			return waiting
		}
	}
	same := 0
	for same < len(waiting) && waiting[len(waiting)-1-same].Signal == a.Signal {
		same++
	}
	if same >= enough {
		return waiting
	}
	return append(waiting, a)
}

func (s *Service) handle(a arrival) {
	s.cfg.Logger.Info("signal", "signal", a.String(), "phase", string(s.phase))
	v := s.cfg.Signals.verb(a.Signal)
	together := a.at.Sub(s.pullAt) < sameInstant
	if v == verbRestore && together {
		s.cfg.Logger.Warn("restore ignored: it came in the same instant as a pull; send it again")
		return
	}
	if v == verbStop {
		if !s.stopAt.IsZero() && a.at.Sub(s.stopAt) < sameWish {
			s.cfg.Logger.Info("the same wish as the signal before: send it again to leave now", "within", sameWish)
			return
		}
		s.stopAt = a.at
	}
	s.heed(v, s.generation, a.Signal)
	switch {
	case v == verbPull:
		s.pullAt = a.at
	case v == verbRestore:
		s.pullAt = time.Time{}
	case v == verbSwap && together:
		s.heed(verbPull, s.generation, a.Signal)
	}
}

// sameInstant is how close a pull comes to a swap or a restore where their order is not known: the
// kernel keeps none between signals that wait, and two threads may take them. The pull holds then,
// which is safe. An operator who means the other gives the balancer time to notice first.
const sameInstant = 5 * time.Millisecond

// sameWish is how long after a signal to stop another one says the same: timeout(1) signals its child and then its
// group, and a wrapper forwards a Ctrl-C that the terminal has sent to both. One that comes later asks to leave now.
var sameWish = 100 * time.Millisecond

// heed does what a command says that came to generation by, here or in the main generation. Sig is nil
// where another generation has forwarded it, which makes no second signal of it: a manager signals
// every process of the service.
//
// An older generation may forward a command late. Its sender has read the PID file before one that
// signals a newer generation. So a pull that came to a newer generation is the later one, and holds.
func (s *Service) heed(c verb, by int, sig os.Signal) {
	if s.forward(c, by) && c != verbStop {
		return
	}
	pullIsLater := s.pullBy > by
	switch c {
	case verbSwap:
		s.swapNow(nil)
		if pullIsLater {
			s.pullNow()
		} else {
			s.pullBy = 0
		}
	case verbPull:
		s.pullBy = max(s.pullBy, by)
		s.pullNow()
	case verbRestore:
		if pullIsLater {
			s.cfg.Logger.Warn("restore ignored: an older generation forwards it after a pull; send it again")
			return
		}
		s.pullBy = 0
		s.restoreNow()
	case verbStop:
		if sig != nil {
			s.stopNow(sig)
		} else if !s.stopping {
			s.stopNow(nil)
			s.leaveNow = false
		}
	}
}
