package drain_test

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const keepIdle = unix.TCP_KEEPIDLE

// becomeSubreaper makes generations whose parent is gone children of the test, which can then wait for them.
func becomeSubreaper() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// awaitGone blocks until the process has exited and returns its exit code, -n for signal n, or unknownExit if another
// process was told.
func awaitGone(pid int) int {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return unknownExit
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err == nil {
			break
		}
	}
	var ws syscall.WaitStatus
	if got, err := syscall.Wait4(pid, &ws, syscall.WNOHANG, nil); err != nil || got != pid {
		return unknownExit
	}
	if ws.Signaled() {
		return -int(ws.Signal())
	}
	return ws.ExitStatus()
}

// proc is a process, as /proc shows it.
type proc struct {
	pid, parent, session int
	name, state          string
}

// pids are the processes that this one sees in /proc.
func pids() (all []int) {
	dir, err := os.Open("/proc")
	if err != nil {
		panic(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// lookUp is what /proc has of a process, if it is there.
func lookUp(pid int) (p proc, ok bool) {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	end := bytes.LastIndexByte(text, ')') // of the name, which may have anything in it
	_, name, named := bytes.Cut(text[:max(end, 0)], []byte("("))
	rest := strings.Fields(string(text[end+1:]))
	if !named || len(rest) < 4 {
		return p, false // it is gone
	}
	p = proc{pid: pid, name: string(name), state: rest[0]}
	var err, err2 error
	p.parent, err = strconv.Atoi(rest[1])
	p.session, err2 = strconv.Atoi(rest[3])
	return p, err == nil && err2 == nil
}

func procs() (all []proc) {
	for _, pid := range pids() {
		if p, ok := lookUp(pid); ok {
			all = append(all, p)
		}
	}
	return all
}

func children(pid int) []proc {
	return slices.DeleteFunc(procs(), func(p proc) bool { return p.parent != pid })
}

// living returns the processes of a session, zombies excluded. Tests ask for it often: it opens no file of others.
func living(session int) (alive []int) {
	for _, pid := range pids() {
		if sid, err := unix.Getsid(pid); err != nil || sid != session {
			continue
		}
		if p, ok := lookUp(pid); ok && p.state != "Z" && p.state != "X" {
			alive = append(alive, pid)
		}
	}
	slices.Sort(alive)
	return alive
}

// starve leaves the process spare free descriptors, until a swap fails; with 0 also those that become free don't help.
func (g *gen) starve(spare string) error {
	n, err := strconv.Atoi(spare)
	if err != nil {
		return err
	}
	first, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	hogs := []*os.File{first}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	was := limit
	limit.Cur = uint64(first.Fd()) + 32
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		hogs = append(hogs, f)
	}
	for range n {
		_ = hogs[0].Close()
		hogs = hogs[1:]
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hogs, g.limit = hogs, was
	if n == 0 {
		limit.Cur = 3
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// mountTiny mounts a file system on dir that holds one small file.
func mountTiny(t testing.TB, dir string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8k,nr_inodes=8"); err != nil {
		t.Skipf("can't mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
