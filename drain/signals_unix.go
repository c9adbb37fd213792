//go:build unix

package drain

import (
	"os"
	"os/signal"
	"syscall"
)

var defaultSignals = Signals{
	Swap:    []os.Signal{syscall.SIGHUP},
	Pull:    []os.Signal{syscall.SIGUSR2},
	Restore: []os.Signal{syscall.SIGUSR1},
	Stop:    []os.Signal{syscall.SIGTERM, os.Interrupt},
}

// raise lets sig do what it does to a process without handlers.
func raise(sig os.Signal) {
	signal.Reset(sig)
	if n, ok := sig.(syscall.Signal); ok {
		_ = syscall.Kill(os.Getpid(), n)
	}
}
