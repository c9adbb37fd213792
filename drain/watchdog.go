package drain

import (
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// guard says WATCHDOG=1 in each half of the watchdog's time, for as long as this generation is the
// main one, its loop runs and every server of ours answers.
func (s *Service) guard(watchdog time.Duration) {
	tick := time.NewTicker(max(watchdog/2, time.Millisecond))
	defer tick.Stop()
	for {
		_, err := s.askServers(s.cfg.LivePath, s.cfg.PingPath, true) // which answers whether pulled or not
		over := false
		if !s.call(func() {
			switch {
			case !s.manager.main:
				over = true
			case err != nil && s.phase != Draining: // when the servers take nothing any more
				s.cfg.Logger.Error("not a sign of life for the watchdog", "err", err, "phase", string(s.phase))
			case !s.manager.Behind():
				s.manager.Post(daemon.SdNotifyWatchdog)
			}
		}) || over {
			return
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return
		}
	}
}
