package drain_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// notifySocket is a service manager as far as its socket goes: it remembers what it hears, and from whom.
type notifySocket struct {
	testing.TB
	path string

	mu    sync.Mutex // guards what follows
	heard []datagram
	grown chan struct{} // closed when heard grows, and replaced
	deaf  bool          // barriers are not answered
	held  []int         // their descriptors
}

type datagram struct {
	pid   int
	text  string
	files int
}

func newNotifySocket(t testing.TB) *notifySocket {
	t.Helper()
	dir, err := os.MkdirTemp("", "n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &notifySocket{TB: t, path: filepath.Join(dir, "notify"), grown: make(chan struct{})}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	rc, err := conn.SyscallConn()
	if err == nil {
		_ = rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	}
	if err != nil {
		t.Fatal(err)
	}
	go n.listen(conn)
	t.Cleanup(func() {
		n.answer()
		if t.Failed() {
			for _, d := range n.since(0) {
				t.Logf("heard from %d: %q", d.pid, d.text)
			}
		}
	})
	return n
}

// manages makes a service that is started tell n.
func (n *notifySocket) manages(s *service, cmd *exec.Cmd) {
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+n.path)
}

func (n *notifySocket) listen(conn *net.UnixConn) {
	buf, oob := make([]byte, 1<<16), make([]byte, 1024)
	for {
		size, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
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
		n.held = append(n.held, fds...)
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

func (n *notifySocket) mark() int { return len(n.since(0)) }

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
	for _, d := range n.since(mark) {
		if d.pid == pid {
			n.Errorf("%d says %q", pid, d.text)
		}
	}
}

func monotonic(t testing.TB) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}
