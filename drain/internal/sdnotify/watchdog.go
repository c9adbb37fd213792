package sdnotify

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"
)

// WatchdogTime is what WATCHDOG_USEC asks of this process, see sd_watchdog_enabled(3). WATCHDOG_PID is that of
// generation 1; without it the variable is every later one's too.
func WatchdogTime(log *slog.Logger) time.Duration {
	d, err := watchdogTime()
	if err != nil {
		log.Warn("invalid WATCHDOG_USEC: watchdog disabled", "err", err)
	}
	_ = os.Unsetenv("WATCHDOG_PID")
	if d <= 0 {
		_ = os.Unsetenv("WATCHDOG_USEC") // meant for another process, and so not for our children
	}
	return d
}

func watchdogTime() (time.Duration, error) {
	const most = 1 << 43 // 100 days: more would not fit a Duration some day
	usec, pid := passed.watchdogUsec, passed.watchdogPID
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 || n > most {
		return 0, fmt.Errorf("WATCHDOG_USEC is %q: want microseconds, above 0 and at most %d", usec, int64(most))
	}
	return time.Duration(n) * time.Microsecond, nil
}
