package drain

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
)

// watch installs the handlers. From here on a signal is remembered until the loop handles it.
func (s *Service) watch() error {
	sets := s.cfg.Signals
	all := slices.Concat(sets.Swap, sets.Pull, sets.Restore, sets.Stop)
	for i, sig := range all {
		if slices.Contains(all[:i], sig) {
			return fmt.Errorf("drain: Config.Signals has %v twice: each signal can mean one thing", sig)
		}
	}
	if len(all) > 0 { // Notify without signals would mean all of them
		signal.Notify(s.signals, all...)
	}
	return nil
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
