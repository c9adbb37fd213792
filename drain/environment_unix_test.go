//go:build unix

package drain_test

import (
	"fmt"
	"os"
)

// spoilEnvironment is what programs do to theirs before they call New.
func (g *gen) spoilEnvironment() {
	names := []string{"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID"}
	switch g.Fault {
	case "clears its environment":
		os.Clearenv()
	case "unsets what systemd said":
		for _, name := range names {
			_ = os.Unsetenv(name)
		}
	case "invents what systemd said":
		for _, name := range names {
			_ = os.Setenv(name, fmt.Sprint(os.Getpid()))
		}
	}
}
