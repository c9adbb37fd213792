package drain_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// depot is what of a service manager has to do with sockets: it takes descriptors at a NOTIFY_SOCKET and passes them to
// the processes that it starts.
type depot struct {
	testing.TB
	conn *net.UnixConn
	path string

	mu    sync.Mutex // guards what follows
	said  []saying
	held  []*os.File // their names are the FDNAMEs
	grown chan struct{}
}

// saying is a datagram about the store.
type saying struct {
	pid  int
	text string
}

func newDepot(t testing.TB) *depot {
	t.Helper()
	dir, err := os.MkdirTemp("", "depot")
	if err != nil {
		t.Fatal(err)
	}
	d := &depot{TB: t, path: filepath.Join(dir, "notify"), grown: make(chan struct{})}
	if d.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: d.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	rc, err := d.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err != nil {
		t.Fatal(err)
	}
	go d.read()
	t.Cleanup(func() {
		_ = d.conn.Close()
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, f := range d.held {
			_ = f.Close()
		}
		_ = os.RemoveAll(dir)
	})
	return d
}

func (d *depot) read() {
	buf, oob := make([]byte, 4096), make([]byte, 4096)
	for {
		n, oobn, _, _, err := d.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			d.Error(err)
			return
		}
		s := saying{text: string(buf[:n])}
		var fds []int
		for _, m := range msgs {
			if cred, err := unix.ParseUnixCredentials(&m); err == nil {
				s.pid = int(cred.Pid)
			} else if got, err := unix.ParseUnixRights(&m); err == nil {
				fds = append(fds, got...)
			}
		}
		d.take(s, fds)
	}
}

// take does with the store what systemd does: a socket that is there is not stored again, and a name may
// stand for many.
func (d *depot) take(s saying, fds []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := ""
	lines := strings.Split(s.text, "\n")
	for _, line := range lines {
		if n, ok := strings.CutPrefix(line, "FDNAME="); ok {
			name = n
		}
	}
	for _, fd := range fds {
		f := os.NewFile(uintptr(fd), name)
		unix.CloseOnExec(fd)
		if slices.Contains(lines, "FDSTORE=1") && !slices.ContainsFunc(d.held,
			func(h *os.File) bool { return inode(h) == inode(f) }) {
			d.held = append(d.held, f)
		} else {
			_ = f.Close() // of a BARRIER=1, too
		}
	}
	if slices.Contains(lines, "FDSTOREREMOVE=1") {
		d.held = slices.DeleteFunc(d.held, func(h *os.File) bool { return h.Name() == name && h.Close() == nil })
	}
	if strings.Contains(s.text, "FDSTORE") {
		d.said = append(d.said, s)
		close(d.grown)
		d.grown = make(chan struct{})
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

// await waits until n datagrams about the store have come, and returns the last.
func (d *depot) await(n int) saying {
	d.Helper()
	for timeout := time.After(hung); ; {
		d.mu.Lock()
		got, grown := d.said, d.grown
		d.mu.Unlock()
		if len(got) >= n {
			return got[n-1]
		}
		select {
		case <-grown:
		case <-timeout:
			d.Fatalf("%d datagrams about the store; want %d: %q", len(got), n, got)
		}
	}
}

// want wants exactly these datagrams about the store so far.
func (d *depot) want(said ...saying) {
	d.Helper()
	if len(said) > 0 {
		d.await(len(said))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.said, said) {
		d.Errorf("about the store:\n%q; want\n%q", d.said, said)
	}
}

func stored(pid int, name string) saying {
	return saying{pid, "FDSTORE=1\nFDPOLL=0\nFDNAME=" + name}
}
func removed(pid int, name string) saying { return saying{pid, "FDSTOREREMOVE=1\nFDNAME=" + name} }

// names are those of what is held.
func (d *depot) names() (names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.held {
		names = append(names, f.Name())
	}
	return names
}

// unit holds a socket like one of a .socket unit.
func (d *depot) unit(name string, socket syscall.Conn) {
	d.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = append(d.held, d.copyOf(name, socket))
}

func (d *depot) copyOf(name string, c syscall.Conn) (f *os.File) {
	d.Helper()
	rc, err := c.SyscallConn()
	if err == nil {
		err = rc.Control(func(fd uintptr) {
			if nfd, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
				f = os.NewFile(uintptr(nfd), name)
			}
		})
	}
	if err != nil || f == nil {
		d.Fatalf("no copy of %s: %v", name, err)
	}
	return f
}

// unitTCP holds one that listens on a free port.
func (d *depot) unitTCP(name string) (address string) {
	d.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.Fatal(err)
	}
	d.unit(name, ln.(*net.TCPListener))
	_ = ln.Close()
	return ln.Addr().String()
}

// start makes the service one of the manager's.
func (d *depot) start(s *service, cmd *exec.Cmd) {
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+d.path)
	d.pass(s, cmd)
}

// pass passes what is held. Only the shell knows the pid beforehand.
func (d *depot) pass(s *service, cmd *exec.Cmd) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for _, f := range d.held {
		f := d.copyOf(f.Name(), f) // the process may have f closed before Start has returned
		d.Cleanup(func() { _ = f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		names = append(names, f.Name())
	}
	if len(names) > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `export LISTEN_PID=$$; exec "$0"`, s.binary}
	}
}

// crowd is clients who don't give up: each sends requests, one after the other, half of them on a connection
// of its own.
type crowd struct {
	s       *service // who answers now
	quit    chan struct{}
	clients sync.WaitGroup
	beats   []atomic.Int64

	mu      sync.Mutex // guards what follows
	refused []error
	broken  []error
}

func (s *service) attract(n int) *crowd {
	s.Helper()
	c := &crowd{s: s, quit: make(chan struct{}), beats: make([]atomic.Int64, n)}
	for i := range n {
		c.clients.Go(func() { c.client(i) })
	}
	c.settle()
	return c
}

func (c *crowd) client(i int) {
	var own *client
	for {
		select {
		case <-c.quit:
			if own != nil {
				_ = own.Close()
			}
			return
		case <-time.After(time.Millisecond):
		}
		if own == nil {
			var err error
			if own, err = dial(c.s); err != nil {
				own = nil
				c.mu.Lock()
				c.refused = append(c.refused, err)
				c.mu.Unlock()
				continue
			}
		}
		a, err := own.ask("POST", "/echo", "here")
		if err == nil && a.body != "here" {
			err = errors.New(a.body)
		}
		if err != nil {
			c.mu.Lock()
			c.broken = append(c.broken, err)
			c.mu.Unlock()
		}
		if err != nil || a.close || i%2 == 0 {
			_ = own.Close()
			own = nil
		}
		if err == nil {
			c.beats[i].Add(1)
		}
	}
}

// settle waits until each client has had an answer to a request that it begins from now on.
func (c *crowd) settle() {
	c.s.Helper()
	timeout := time.After(hung)
	for i := range c.beats {
		for from := c.beats[i].Load(); c.beats[i].Load() < from+2; {
			select {
			case <-time.After(time.Millisecond):
			case <-timeout:
				c.s.Fatalf("client %d gets no answers; refused: %v; broken: %v", i, c.refused, c.broken)
			}
		}
	}
}

// end ends it and wants that nobody was refused, and at most that many requests broken.
func (c *crowd) end(broken int) {
	c.s.Helper()
	c.settle()
	close(c.quit)
	c.clients.Wait()
	if len(c.refused) > 0 || len(c.broken) > broken {
		c.s.Errorf("%d refused: %v; %d broken: %v", len(c.refused), c.refused, len(c.broken), c.broken)
	}
}
