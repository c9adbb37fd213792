//go:build unix

package later

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// SignalName is what kill(1) and manuals call it; the number where it has no name.
func SignalName(sig os.Signal) string {
	if n, ok := sig.(syscall.Signal); ok && unix.SignalName(n) != "" {
		return unix.SignalName(n)
	}
	return sig.String()
}
