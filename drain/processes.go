package drain

import (
	"os"

	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/proc"
)

// osProcesses are those of the operating system.
type osProcesses struct{ sys *system }

func (p osProcesses) parent() (*link.Link, error) { return p.sys.takeLink() }

func (p osProcesses) ready() error { return p.sys.flipReady() }

func (osProcesses) pair() (*link.Link, *os.File, error) { return link.Pair() }

func (osProcesses) open(far *os.File) (*link.Link, error) { return link.Open(far) }

func (p osProcesses) start(far *os.File, held func() bool, settle func()) (child, error) {
	return p.sys.startChild(far, held, settle)
}

func (osProcesses) die(sig os.Signal) { resetAndRaise(sig) }

func (osProcesses) alive(pid int) bool { return proc.Alive(pid) }

// signal reaches no other process that has got the number: a pidfd holds the process, where there are any.
func (osProcesses) signal(pid int, sig os.Signal, lives func() bool) {
	if p, err := os.FindProcess(pid); err == nil {
		if lives() {
			_ = p.Signal(sig)
		}
		_ = p.Release()
	}
}
