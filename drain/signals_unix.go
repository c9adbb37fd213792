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

// outlivePipes keeps a log whose reader has gone from ending the process: package os lets SIGPIPE
// do that where standard output or error is a closed pipe, unless the signal is taken. Writes
// return EPIPE.
func outlivePipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// A new generation may log before New, to a reader that is gone. One that a keeper has started: see takeFarEnd.
func init() {
	if inherits() {
		outlivePipes()
	}
}

// raise lets sig do what it does to a process without handlers.
func raise(sig os.Signal) {
	signal.Reset(sig)
	if n, ok := sig.(syscall.Signal); ok {
		_ = syscall.Kill(os.Getpid(), n)
	}
}
