package sdnotify

import (
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// WatchdogTime is what WATCHDOG_USEC asks of this process. WATCHDOG_PID is that of generation 1;
// without it the variable is every later one's too.
func WatchdogTime(log *slog.Logger) time.Duration {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog is left alone", "err", err)
	}
	_ = os.Unsetenv("WATCHDOG_PID")
	if d <= 0 {
		_ = os.Unsetenv("WATCHDOG_USEC") // meant for another process, and so not for our children
	}
	return max(d, 0)
}
