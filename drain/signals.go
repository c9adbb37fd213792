package drain

import (
	"os"
	"os/signal"
	"slices"
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

// watch installs the handlers. From here on a signal is remembered until the loop handles it.
func (s *Service) watch() {
	if all := s.cfg.Signals.all(); len(all) > 0 { // Notify without signals would mean all of them
		signal.Notify(s.signals, all...)
	}
}

func (s *Service) handle(sig os.Signal) {
	s.cfg.Logger.Info("signal", "signal", sig.String(), "phase", string(s.phase), "generation", s.generation, "pid", s.os.pid)
	sets := s.cfg.Signals
	switch {
	case slices.Contains(sets.Swap, sig):
		s.swapNow(nil)
	case slices.Contains(sets.Pull, sig):
		s.pullNow()
	case slices.Contains(sets.Restore, sig):
		s.restoreNow()
	case slices.Contains(sets.Stop, sig):
		s.stopNow(sig)
	}
}
