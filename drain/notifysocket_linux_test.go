package drain_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// notifySocket is a service manager as far as its socket goes: it remembers what it hears, and from whom, and keeps the
// sockets that it is given, for the processes that it starts.
type notifySocket struct {
	testing.TB
	path string

	read chan struct{} // gets one for each datagram of catchUp

	mu    sync.Mutex // guards what follows
	heard []datagram
	grown chan struct{} // closed when heard grows, and replaced
	deaf  bool          // barriers are not answered
	held  []int         // their descriptors
	store []*os.File    // their names are the FDNAMEs
}

type datagram struct {
	pid   int
	text  string
	files int
}

func newNotifySocket(t testing.TB) *notifySocket {
	t.Helper()
	n := &notifySocket{TB: t, path: filepath.Join(shortDir(t), "notify"), read: make(chan struct{}),
		grown: make(chan struct{})}
	conn := have(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"}))(t)
	rc, err := conn.SyscallConn()
	if err == nil {
		_ = rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	}
	must(t, err)
	go n.listen(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		n.answer()
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, f := range n.store {
			_ = f.Close()
		}
		for _, d := range n.heard {
			if t.Failed() {
				t.Logf("heard from %d: %q", d.pid, d.text)
			}
		}
	})
	return n
}

// manages makes a service that is started tell n, and have what n stores.
func (n *notifySocket) manages(s *service, cmd *exec.Cmd) {
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+n.path)
	n.pass(s, cmd)
}

// pass passes what is stored. Only the shell knows the pid beforehand.
func (n *notifySocket) pass(s *service, cmd *exec.Cmd) {
	n.catchUp()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.store {
		f := n.copyOf(f.Name(), f) // the process may have f closed before Start has returned
		n.Cleanup(func() { _ = f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if names := n.names(); len(names) > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `export LISTEN_PID=$$; exec "$0"`, s.binary}
	}
}

// own is what the test itself sends.
const own = "TEST=1"

// catchUp waits until all that has been sent is heard. As systemd does, which handles the end of a process only after
// what that process has sent.
func (n *notifySocket) catchUp() {
	n.Helper()
	c := have(net.Dial("unixgram", n.path))(n)
	defer c.Close()
	_, err := c.Write([]byte(own))
	must(n, err)
	<-n.read
}

func (n *notifySocket) listen(conn *net.UnixConn) {
	buf, oob := make([]byte, 1<<16), make([]byte, 1024)
	for {
		size, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		if string(buf[:size]) == own {
			n.read <- struct{}{}
			continue
		}
		d := datagram{text: string(buf[:size])}
		msgs, _ := unix.ParseSocketControlMessage(oob[:oobn])
		var fds []int
		for _, m := range msgs {
			if cred, err := unix.ParseUnixCredentials(&m); err == nil {
				d.pid = int(cred.Pid)
			}
			if got, err := unix.ParseUnixRights(&m); err == nil {
				fds = append(fds, got...)
			}
		}
		d.files = len(fds)
		n.mu.Lock()
		n.keep(d, fds)
		deaf := n.deaf
		n.heard = append(n.heard, d)
		close(n.grown)
		n.grown = make(chan struct{})
		n.mu.Unlock()
		if !deaf {
			n.answer()
		}
	}
}

// keep does with the store what systemd does: a socket that is there is not stored again, and a name
// may stand for many.
func (n *notifySocket) keep(d datagram, fds []int) {
	name := ""
	lines := strings.Split(d.text, "\n")
	for _, line := range lines {
		if v, ok := strings.CutPrefix(line, "FDNAME="); ok {
			name = v
		}
	}
	switch {
	case slices.Contains(lines, "FDSTORE=1"):
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			f := os.NewFile(uintptr(fd), name)
			if slices.ContainsFunc(n.store, func(h *os.File) bool { return inode(h) == inode(f) }) {
				_ = f.Close()
				continue
			}
			n.store = append(n.store, f)
		}
	case slices.Contains(lines, "FDSTOREREMOVE=1"):
		n.store = slices.DeleteFunc(n.store, func(h *os.File) bool { return h.Name() == name && h.Close() == nil })
	default:
		n.held = append(n.held, fds...)
	}
}

// inode is what all descriptors of a socket have in common.
func inode(f *os.File) uint64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// names are those of what is stored.
func (n *notifySocket) names() (names []string) {
	for _, f := range n.store {
		names = append(names, f.Name())
	}
	return names
}

// holds is names for a test.
func (n *notifySocket) holds() []string {
	n.catchUp()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.names()
}

// unit stores a socket like one of a .socket unit.
func (n *notifySocket) unit(name string, socket syscall.Conn) {
	n.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.store = append(n.store, n.copyOf(name, socket))
}

func (n *notifySocket) copyOf(name string, c syscall.Conn) (f *os.File) {
	n.Helper()
	rc, err := c.SyscallConn()
	if err == nil {
		err = rc.Control(func(fd uintptr) {
			if nfd, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
				f = os.NewFile(uintptr(nfd), name)
			}
		})
	}
	if err != nil || f == nil {
		n.Fatalf("no copy of %s: %v", name, err)
	}
	return f
}

// unitTCP stores one that listens on a free port.
func (n *notifySocket) unitTCP(name string) (address string) {
	n.Helper()
	ln := have(net.Listen("tcp", "127.0.0.1:0"))(n)
	n.unit(name, ln.(*net.TCPListener))
	_ = ln.Close()
	return ln.Addr().String()
}

func stored(pid int, name string) string {
	return fmt.Sprintf("%d: FDSTORE=1\nFDPOLL=0\nFDNAME=%s", pid, name)
}

func removed(pid int, name string) string {
	return fmt.Sprintf("%d: FDSTOREREMOVE=1\nFDNAME=%s", pid, name)
}

// wantStored wants to have heard exactly this about the store.
func (n *notifySocket) wantStored(want ...string) {
	n.Helper()
	n.catchUp()
	var got []string
	for timeout := time.After(hung); ; {
		n.mu.Lock()
		grown := n.grown
		got = nil
		for _, d := range n.heard {
			if strings.Contains(d.text, "FDSTORE") {
				got = append(got, fmt.Sprintf("%d: %s", d.pid, d.text))
			}
		}
		n.mu.Unlock()
		if len(got) >= len(want) {
			break
		}
		select {
		case <-grown:
		case <-timeout:
			n.Fatalf("%d datagrams about the store; want %d: %q", len(got), len(want), got)
		}
	}
	if !slices.Equal(got, want) {
		n.Errorf("about the store:\n%q; want\n%q", got, want)
	}
}

// turnDeaf makes barriers wait for answer.
func (n *notifySocket) turnDeaf() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaf = true
}

// answer answers the barriers there are, and those to come.
func (n *notifySocket) answer() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaf = false
	for _, fd := range n.held {
		_ = unix.Close(fd)
	}
	n.held = nil
}

func (n *notifySocket) since(mark int) []datagram {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.heard[mark:])
}

func (n *notifySocket) mark() int {
	n.catchUp()
	return len(n.since(0))
}

// await returns the place of the first datagram after mark that the pattern describes in whole.
func (n *notifySocket) await(mark int, pattern string) (datagram, int) {
	n.Helper()
	re := regexp.MustCompile(`^(?:` + pattern + `)$`)
	for timeout := time.After(hung); ; {
		n.mu.Lock()
		i := slices.IndexFunc(n.heard[mark:], func(d datagram) bool { return re.MatchString(d.text) })
		grown := n.grown
		n.mu.Unlock()
		if i >= 0 {
			return n.since(mark)[i], mark + i
		}
		select {
		case <-grown:
		case <-timeout:
			n.Fatalf("hangs; want the manager to hear %q", pattern)
		}
	}
}

// next is await, for a datagram of that process before which it says nothing but how it goes.
func (n *notifySocket) next(mark, pid int, pattern string) int {
	n.Helper()
	d, at := n.await(mark, pattern)
	if d.pid != pid {
		n.Errorf("%q comes from %d; want %d", d.text, d.pid, pid)
	}
	for _, d := range n.since(0)[mark:at] {
		if !strings.HasPrefix(d.text, "STATUS=") && !strings.HasPrefix(d.text, "EXTEND_TIMEOUT_USEC=") || d.pid != pid {
			n.Errorf("%d says %q before %q", d.pid, d.text, pattern)
		}
	}
	return at + 1
}

// wantSilence wants that a process has said nothing since mark.
func (n *notifySocket) wantSilence(mark, pid int) {
	n.Helper()
	n.catchUp()
	for _, d := range n.since(mark) {
		if d.pid == pid {
			n.Errorf("%d says %q", pid, d.text)
		}
	}
}

func monotonic(t testing.TB) int64 {
	t.Helper()
	var now unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return now.Nano() / 1000
}
