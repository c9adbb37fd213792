//go:build unix

package drain

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cloudflare/tableflip"

	"github.com/baton-go/baton/drain/internal/controlsock"
	"github.com/baton-go/baton/drain/internal/keeper"
	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/process"
	"github.com/baton-go/baton/drain/internal/tlsconf"
	"github.com/baton-go/baton/listener"
)

// linkName is the name under which the link's far end is passed on.
const linkName = "baton-link"

// helloWithin is how long the old generation may take to say hello. It does so before it starts the new one.
const helloWithin = 5 * time.Second

// system is the part of the operating system that a Service acts on.
type system struct {
	processes
	pid      int
	binary   string              // absolute
	flip     *tableflip.Upgrader // says that this process is ready
	files    *process.Files      // what each child gets
	fds      listener.Fds        // the same; nil where sockets can't be handed over
	group    int                 // the process group of the generation before, 0 if there is none
	inherits bool                // another process has started this one
	pulled   bool                // that one was, when it started this
	ports    []string            // where that one listens, see ports
	held     map[string]string
	score    string // of that one, see process.Score
	sockets  []listener.Inherited
	tickets  []tlsconf.TicketKey
	holders  []holder // of functions of Lead, besides that one
	others   []string // of that one: see Files.Strange
	control  *controlsock.Socket
}

// inherits tells whether another process has started this one to take over.
func inherits() bool { return process.Started() }

func newSystem() (sys system, err error) {
	sys = system{pid: os.Getpid(), binary: process.Self.Binary, inherits: inherits()}
	if sys.files, err = process.Inherit(); err != nil {
		return sys, fmt.Errorf("drain: %w", err)
	}
	sys.fds = sys.files
	for _, in := range sys.files.Inherited() {
		if in.Socket() {
			sys.sockets = append(sys.sockets, listener.Inherited{Network: in.Network, Address: in.Address, FD: in.FD})
		}
	}
	if sys.flip, err = process.Upgrader(); err != nil {
		return sys, fmt.Errorf("drain: %w (a process starts in a folder that exists)", err)
	}
	return sys, nil
}

// keeper returns the end of the keeper's socket pair, or nil if there is none.
func (sys *system) keeper() (*os.File, error) { return keeper.File(sys.files) }

// takeLink is processes.parent.
func (sys *system) takeLink() (*link.Link, error) {
	f := sys.files.Take(linkName)
	if f == nil {
		return nil, nil
	}
	l, err := link.Open(f)
	if err != nil {
		return nil, fmt.Errorf("drain: %w", err)
	}
	return l, nil
}

// predecessor returns what the generation that has started this process says of itself, and the link
// to it; nil where none of this library has.
func (sys *system) predecessor() (*link.Link, message, error) {
	var hello message
	if !sys.inherits {
		return nil, hello, nil
	}
	l, err := sys.parent()
	if l == nil || err != nil {
		return nil, hello, err
	}
	late := time.AfterFunc(helloWithin, func() { _ = l.Close() })
	files, err := l.Receive(&hello)
	closeAll(files)
	switch {
	case !late.Stop():
		err = fmt.Errorf("nothing within %v", helloWithin)
	case err == nil && hello.Kind != kindHello:
		err = fmt.Errorf("but %q", hello.Kind)
	}
	if err != nil {
		_ = l.Close()
		return nil, hello, fmt.Errorf("drain: the old generation did not say hello: %w", err)
	}
	sys.held, sys.score, sys.pulled, sys.ports = hello.Held, hello.Score, hello.Pulled, hello.Ports
	sys.tickets, sys.holders, sys.others = hello.TicketKeys, hello.Holders, hello.Strange
	sys.files.Strangers(hello.Strange)
	sys.group = process.Group(hello.PID)
	process.Self.NameDir(hello.Dir)
	return l, hello, nil
}

// startChild starts the next generation as this one was started, with the far end of a link. Held
// tells whether a process has that; settle is called when the child has exited.
func (sys *system) startChild(far *os.File, held func() bool, settle func()) (child, error) {
	return process.Start(process.Command{
		Path: sys.binary, Args: process.Self.Args, Env: process.Self.ChildEnv(), Dir: process.Self.Dir,
		Stdio: process.Self.Stdio,
		Files: sys.files, Also: map[string]*os.File{linkName: far}, Held: held, Settle: settle,
	})
}

// strange returns the paths of unix sockets, the one for commands too, whose files are others'.
func (sys *system) strange() []string {
	all := sys.files.Strange()
	if sys.control != nil && !sys.control.There() {
		all = append(all, sys.control.Path)
	}
	return all
}

// dir is the name of the folder in which the next generation is started.
func (*system) dir() string { return process.Self.Dir }

// flipReady is processes.ready.
func (sys *system) flipReady() error { return sys.flip.Ready() }

// over makes the next Service of this process one that no other process has started.
func (*system) over() { process.Over() }

// part is the process's place: its group, and what it has open besides what it uses.
func (sys *system) part() part {
	return part{
		acquire: sys.succeed,
		yield:   func() { sys.letGo(false) },
		end:     func(how ending) { sys.letGo(how == last) },
	}
}

// scorePart is whom the kernel kills first where memory runs out: not the main generation, nor what that starts.
func (sys *system) scorePart(log *slog.Logger) part {
	return part{acquire: func() {
		if err := process.Promoted(sys.score); err != nil {
			log.Warn("where memory runs out, the kernel kills this process first", "err", err)
		}
	}}
}

// succeed makes this process what its predecessor was: what that one had and this version has no use for is closed.
func (sys *system) succeed() {
	sys.files.CloseUnused()
	process.Join(sys.group)
}

// letGo closes the copies that each child gets; last says that no other generation has the sockets.
func (sys *system) letGo(last bool) {
	if last {
		sys.files.CloseLast()
	} else {
		sys.files.Close()
	}
}
