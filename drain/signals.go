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

// watch installs the handlers. From here on a signal is remembered until the loop handles it.
func (s *Service) watch() {
	if all := s.cfg.Signals.all(); len(all) > 0 { // Notify without signals would mean all of them
		signal.Notify(s.signals, all...)
	}
}

func (s *Service) handle(sig os.Signal) {
	s.cfg.Logger.Info("signal", "signal", sig.String(), "phase", string(s.phase))
	v := s.cfg.Signals.verb(sig)
	s.heed(v, sig)
	switch {
	case v == verbPull:
		s.pullAt = time.Now()
	case v == verbRestore:
		s.pullAt = time.Time{}
	case v == verbSwap && time.Since(s.pullAt) < sameInstant:
		s.heed(verbPull, sig)
	}
}

// sameInstant is how close a pull and a swap come where their order is not known: two threads take signals from the
// kernel. The pull holds then. An operator who means the swap to end a pull gives the balancer time to notice first.
const sameInstant = 2 * time.Millisecond

// heed does what a command says, here or in the main generation. Sig is nil where another generation has forwarded it, which
// makes no second signal of it: a manager signals every process of the service.
func (s *Service) heed(c verb, sig os.Signal) {
	if s.forward(c) && c != verbStop {
		return
	}
	switch c {
	case verbSwap:
		s.swapNow(nil)
	case verbPull:
		s.pullNow()
	case verbRestore:
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
