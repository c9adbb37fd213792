//go:build unix

package process

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"
)

// The kinds of what is passed, as tableflip has them.
const (
	kindListener = "listener"
	kindPacket   = "packet"
	kindFile     = "fd"
)

// Name is under which name something is passed. A file has its name as the network, and no address.
type Name struct{ Kind, Network, Address string }

// Files are what is passed on to each child: copies of listeners, packet sockets and files, under
// the names that the child asks for. In a child, they are also what was inherited and has not been
// asked for.
//
// The methods may be called from any goroutine. Those of a nil *Files find nothing and close nothing.
type Files struct {
	mu        sync.Mutex // guards what follows
	inherited map[Name]int
	used      map[Name]int
	made      map[Name]os.FileInfo   // the files of unix sockets, as they were then: others may be there by now
	strange   map[string]os.FileInfo // files of others in the places of such, by their paths
	closed    bool
	children  int // that have what is passed on, and may fail
}

func newFiles(inherited map[Name]int) *Files {
	return &Files{inherited: inherited, used: make(map[Name]int), made: make(map[Name]os.FileInfo)}
}

// Passed is what was inherited under a name. The descriptor stays the Files'.
type Passed struct {
	Name
	FD int
}

// Inherited returns what was inherited and has not been asked for, in order.
func (f *Files) Inherited() (all []Passed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, fd := range f.inherited {
		all = append(all, Passed{name, fd})
	}
	slices.SortFunc(all, func(a, b Passed) int { return cmp.Compare(a.FD, b.FD) })
	return all
}

// Socket tells whether the name is that of a listener or a packet socket.
func (name Name) Socket() bool { return name.Kind == kindListener || name.Kind == kindPacket }

// Listener returns nil: the set of listeners is told of Inherited, and adds what it uses.
func (f *Files) Listener(_, _ string) (net.Listener, error) { return nil, nil }

// PacketConn returns nil, as Listener does.
func (f *Files) PacketConn(_, _ string) (net.PacketConn, error) { return nil, nil }

// File returns the inherited file of that name, or nil, and passes a copy on. The caller closes the file.
func (f *Files) File(name string) (*os.File, error) {
	file := f.Take(name)
	if file == nil {
		return nil, nil
	}
	if err := f.AddFile(name, file); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Take returns the inherited file of that name, or nil, and does not pass it on. The caller closes it; no copy is left.
func (f *Files) Take(name string) *os.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := Name{Kind: kindFile, Network: name}
	fd, ok := f.inherited[key]
	if !ok {
		return nil
	}
	delete(f.inherited, key)
	return os.NewFile(uintptr(fd), name)
}

// AddListener passes on a copy of ln.
func (f *Files) AddListener(network, address string, ln tableflip.Listener) error {
	if u, ok := ln.(interface{ SetUnlinkOnClose(bool) }); ok {
		u.SetUnlinkOnClose(false)
	}
	return f.add(Name{kindListener, network, address}, ln)
}

// AddPacketConn passes on a copy of pc.
func (f *Files) AddPacketConn(network, address string, pc tableflip.PacketConn) error {
	return f.add(Name{kindPacket, network, address}, pc)
}

// AddFile passes on a copy of file.
func (f *Files) AddFile(name string, file *os.File) error {
	return f.add(Name{Kind: kindFile, Network: name}, file)
}

func (f *Files) add(name Name, conn syscall.Conn) error {
	rc, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	copied := -1
	ctlErr := rc.Control(func(fd uintptr) { copied, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = cmp.Or(ctlErr, err); err != nil {
		return fmt.Errorf("can't pass on %s %s %s: %w", name.Kind, name.Network, name.Address, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		_ = unix.Close(copied)
		return fmt.Errorf("can't pass on %s %s %s: %w", name.Kind, name.Network, name.Address, os.ErrClosed)
	}
	for _, files := range []map[Name]int{f.inherited, f.used} {
		if old, ok := files[name]; ok {
			delete(files, name)
			_ = unix.Close(old)
		}
	}
	f.used[name] = copied
	if f.made[name], _ = os.Stat(name.path()); f.isStrange(name.path()) {
		delete(f.made, name)
	}
	return nil
}

// Strange returns the paths of unix sockets in whose places others have put files.
func (f *Files) Strange() (paths []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.used {
		if info, err := os.Stat(name.path()); err == nil && !os.SameFile(info, f.made[name]) {
			paths = append(paths, name.path())
		}
	}
	return paths
}

// Strangers tells what Strange has returned in the process that has started this one.
func (f *Files) Strangers(paths []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.strange = make(map[string]os.FileInfo)
	for _, path := range paths {
		f.strange[path], _ = os.Stat(path)
	}
}

// IsStrange tells whether what is there is another's still.
func (f *Files) IsStrange(path string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.isStrange(path)
}

// isStrange compares times, too: the file system may give the number of a file that is gone to the next one.
func (f *Files) isStrange(path string) bool {
	info, err := os.Stat(path)
	was := f.strange[path]
	return err == nil && os.SameFile(info, was) && info.ModTime().Equal(was.ModTime())
}

// DropListener closes the copy of a listener, and removes its file if it has one: no process is to listen there.
func (f *Files) DropListener(network, address string) { f.drop(Name{kindListener, network, address}) }

// DropPacketConn is DropListener for a packet socket.
func (f *Files) DropPacketConn(network, address string) { f.drop(Name{kindPacket, network, address}) }

func (f *Files) drop(name Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fd, ok := f.used[name]; ok {
		delete(f.used, name)
		f.unlink(name)
		_ = unix.Close(fd)
	}
}

// Shared tells whether a child that has not exited has what is passed on.
func (f *Files) Shared() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.children > 0
}

// childExits undoes what each has counted.
func (f *Files) childExits() {
	if f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.children--
	}
}

// each calls pass for what is passed on to one more child, and then do, while none of that can be closed.
func (f *Files) each(pass func(Name, int), do func()) {
	if f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		for name, fd := range f.used {
			pass(name, fd)
		}
		f.children++
	}
	do()
}

// CloseUnused closes what was inherited and has not been asked for.
func (f *Files) CloseUnused() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	closeAll(f.inherited)
}

// Close closes all copies, since another process has them, or they are another's still.
func (f *Files) Close() { f.close(false) }

// CloseLast closes all copies, and removes the files of unix sockets: no process will listen on them.
func (f *Files) CloseLast() { f.close(true) }

func (f *Files) close(last bool) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if last {
		for name := range f.used {
			f.unlink(name)
		}
	}
	closeAll(f.inherited)
	closeAll(f.used)
}

func closeAll(files map[Name]int) {
	for _, fd := range files {
		_ = unix.Close(fd)
	}
	clear(files)
}

// path is that of the file of a unix socket, or "".
func (name Name) path() string {
	switch {
	case strings.HasPrefix(name.Address, "@"):
	case name.Kind == kindListener && (name.Network == "unix" || name.Network == "unixpacket"),
		name.Kind == kindPacket && name.Network == "unixgram":
		return name.Address
	}
	return ""
}

// unlink removes the file of a unix socket, if name is one, and the file is.
func (f *Files) unlink(name Name) {
	info, err := os.Stat(name.path())
	if err == nil && info.Mode()&os.ModeSocket != 0 && os.SameFile(info, f.made[name]) {
		_ = os.Remove(name.path())
	}
}

// number is the descriptor of f, which, unlike by Fd, stays in the mode that it is in.
func number(f *os.File) int {
	fd := -1
	if rc, err := f.SyscallConn(); err == nil {
		_ = rc.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}
