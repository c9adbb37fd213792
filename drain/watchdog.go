package drain

import (
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// watchdogInterval is what WATCHDOG_USEC asks of this process. WATCHDOG_PID is generation 1; unset, it lets the
// variable be every later one's.
func watchdogInterval(log *slog.Logger) time.Duration {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog is left alone", "err", err, "pid", os.Getpid())
	}
	_ = os.Unsetenv("WATCHDOG_PID")
	if d == 0 {
		_ = os.Unsetenv("WATCHDOG_USEC") // it was meant for another process, and is no more for our children
	}
	return d
}
