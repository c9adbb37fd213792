package drain_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

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

// living returns the processes of a session, zombies excluded.
func living(session int) (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 3 && f[0] != "Z" && f[0] != "X" && f[3] == strconv.Itoa(session) {
			pids = append(pids, pid)
		}
	}
	return pids
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
	g.hogs, g.limit = hogs, limit
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
