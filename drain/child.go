package drain

import (
	"os"

	"github.com/baton-go/baton/drain/internal/link"
)

// child is a process that was started to be the next generation; see process.Child.
type child interface {
	Ready() <-chan struct{}
	Exited() <-chan struct{}
	Err() error
	Said() string
	Kill()
	Release() bool
}

// processes are the other processes of a service, and the links to them. Tests have some that are none.
type processes interface {
	// parent returns the link to the generation that has started this one, nil where none of this library has.
	parent() (*link.Link, error)
	// ready tells that generation that this one is ready.
	ready() error
	// pair returns both ends of a link, one of them for another process. The caller closes both.
	pair() (near *link.Link, far *os.File, err error)
	// open makes a link of an end that has come from another process, and closes the file.
	open(far *os.File) (*link.Link, error)
	// start is system.startChild.
	start(far *os.File, held func() bool, settle func()) (child, error)
	alive(pid int) bool
	// die ends this process by a signal, as if no handler of it were installed.
	die(sig os.Signal)
	// signal sends sig to the process that is pid if, when that is found, lives returns true.
	signal(pid int, sig os.Signal, lives func() bool)
}
