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

// ignored holds the signals that this process was started with as ignored, by nohup or by a shell's "&".
var ignored = map[os.Signal]bool{}

func init() {
	for n := syscall.Signal(1); n < 32; n++ {
		ignored[n] = signal.Ignored(n)
	}
}

// staysIgnored tells whether a signal gets no handler. nohup says that a closed terminal is to be no news.
func staysIgnored(sig os.Signal) bool { return sig == hangup && ignored[sig] }

// hangup is the signal that tells of a closed terminal.
const hangup = syscall.SIGHUP

// atTerminal tells whether the controlling terminal of this process is there, or closed. A process without one finds it
// closed.
func atTerminal() (there, closed bool) {
	tty, err := syscall.Open("/dev/tty", syscall.O_RDONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err == nil {
		_ = syscall.Close(tty)
	}
	return err == nil, err == syscall.ENXIO || err == syscall.EIO
}

// resetAndRaise lets sig do what it does to a process without handlers. One that would be ignored ends the
// process with the code that a shell gives to its victims.
func resetAndRaise(sig os.Signal) {
	n, ok := sig.(syscall.Signal)
	if ok && ignored[sig] {
		os.Exit(128 + int(n))
	}
	signal.Reset(sig)
	if ok {
		_ = syscall.Kill(os.Getpid(), n)
	}
}
