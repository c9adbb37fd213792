//go:build unix

package drain

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/listener"
)

// sentinel is how tableflip v1.2.3 tells a child that it is one.
const sentinel = "TABLEFLIP_HAS_PARENT_7DIU3"

// linkName is the name under which the link's far end is passed on.
const linkName = "baton-link"

// flipper is what is used of a tableflip.Upgrader.
type flipper interface {
	AddFile(string, *os.File) error
	File(string) (*os.File, error)
	Ready() error
	Upgrade() error
	Stop()
	Exit() <-chan struct{}
}

// system is the part of the operating system that a Service acts on.
type system struct {
	pid      int
	binary   string  // absolute
	flip     flipper // nil where sockets can't be handed over
	fds      *tableflip.Fds
	inherits bool     // another process has started this one
	linked   bool     // it was one of ours, not of bare tableflip
	pulled   bool     // that one was, when it started this
	ports    []string // where that one listens, see ports
	held     map[string]string
	sockets  []listener.Inherited
	tickets  []ticketKey
}

// inherits tells whether another process has started this one to take over.
func inherits() bool { return os.Getenv(sentinel) != "" }

func newSystem(upgradeTimeout time.Duration) (system, error) {
	sys := system{pid: os.Getpid(), inherits: inherits()}
	if binaryErr != nil {
		return sys, binaryErr
	}
	sys.binary = binary
	os.Args[0] = sys.binary // tableflip would look a relative one up anew, from wherever the process is by then
	letGo := func() {}
	if sys.inherits {
		var err error
		if letGo, sys.sockets, err = freeParent(); err != nil {
			return sys, err
		}
	}
	flip, err := tableflip.New(tableflip.Options{UpgradeTimeout: upgradeTimeout})
	letGo()
	_ = os.Unsetenv(sentinel) // or every process that the service starts would look for a parent
	if err != nil {
		return sys, fmt.Errorf("drain: %w (a process can have one Service)", err)
	}
	sys.flip, sys.fds = flip, flip.Fds
	return sys, nil
}

// freeParent puts a pipe of ours between tableflip and its parent, which it reads until the parent exits: as long as that
// has not happened it refuses a further upgrade. The function returned lets it believe so. The sockets are those that the
// parent passes on.
func freeParent() (letGo func(), sockets []listener.Inherited, err error) {
	const readyFD, namesFD = 3, 4
	unix.CloseOnExec(readyFD)
	parent, err := unix.FcntlInt(namesFD, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("drain: no pipe from the old generation: %w", err)
	}
	if err := unix.SetNonblock(parent, true); err != nil {
		return nil, nil, fmt.Errorf("drain: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("drain: %w", err)
	}
	rc, err := r.SyscallConn()
	if err == nil {
		var dupErr error
		err = rc.Control(func(fd uintptr) { dupErr = dupTo(int(fd), namesFD) })
		err = errors.Join(err, dupErr)
	}
	_ = r.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("drain: %w", err)
	}
	from := os.NewFile(uintptr(parent), "parent")
	var names bytes.Buffer
	if sockets, err = takeNames(from, &names); err != nil {
		return nil, nil, err
	}
	go func() {
		_, _ = w.Write(names.Bytes()) // may be more than a pipe takes at once
		_, _ = io.Copy(w, from)
		_ = from.Close()
		_ = w.Close()
	}()
	return func() { _ = w.Close() }, sockets, nil
}

// predecessor is the generation that started this process, and the number of this one.
func (sys *system) predecessor() (*elder, int, error) {
	if !sys.inherits {
		return nil, 1, nil
	}
	f, err := sys.flip.File(linkName)
	if err != nil {
		return nil, 0, fmt.Errorf("drain: %w", err)
	}
	if f == nil {
		return nil, 2, nil
	}
	dropCopy(f)
	l, err := link.Open(f)
	if err != nil {
		return nil, 0, fmt.Errorf("drain: %w", err)
	}
	var hello message
	files, err := l.Receive(&hello)
	closeAll(files)
	if err != nil || hello.Kind != kindHello {
		return nil, 0, fmt.Errorf("drain: the old generation did not say hello: %w", err)
	}
	sys.linked, sys.held, sys.pulled, sys.ports = true, hello.Held, hello.Pulled, hello.Ports
	sys.tickets = hello.TicketKeys
	parent := newElder(l, hello.Generation-1, hello.PID)
	parent.peer = hello.Protocol
	return parent, hello.Generation, nil
}

// dropCopy puts /dev/null in the place of the descriptor that tableflip has of f and never closes. As long as that one
// lives, the other end would not notice that whoever was handed the link is gone.
func dropCopy(f *os.File) {
	const last = 1024
	var want, got unix.Stat_t
	null, err := os.Open(os.DevNull)
	if err != nil {
		return
	}
	defer null.Close()
	own := f.Fd()
	if unix.Fstat(int(own), &want) != nil {
		return
	}
	for fd := firstInherited; fd < last; fd++ {
		if fd != int(own) && unix.Fstat(fd, &got) == nil && got.Dev == want.Dev && got.Ino == want.Ino {
			_ = dupTo(int(null.Fd()), fd)
			return
		}
	}
}

// prepareChild makes the link that the next Upgrade passes on, and says hello on it.
func (sys *system) prepareChild(hello message) (*link.Link, error) {
	near, far, err := link.Pair()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	if err := errors.Join(near.Post(hello), sys.flip.AddFile(linkName, far)); err != nil {
		_ = near.Close()
		return nil, err
	}
	return near, nil
}
