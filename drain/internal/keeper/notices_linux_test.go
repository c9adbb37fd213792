package keeper

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hearing is a keeper that hears the test, which is a generation to it, or none.
type hearing struct {
	*testing.T
	*keeper
	socket  string
	manager *net.UnixConn // above the keeper
}

func hear(t *testing.T, main *generation) *hearing {
	t.Helper()
	return hearBelow(t, main, "@"+rand.Text())
}

func hearBelow(t *testing.T, main *generation, upstream string) *hearing {
	t.Helper()
	h := &hearing{T: t, socket: "@" + rand.Text()}
	h.keeper, _ = newKeeper(main)
	h.upstream = upstream
	var err error
	if strings.HasPrefix(upstream, "@") {
		h.manager, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: upstream})
		if err != nil {
			t.Fatal(err)
		}
	}
	if h.notices, err = listenNotices(h.socket); err != nil {
		t.Fatal(err)
	}
	heard, done := make(chan struct{}), make(chan struct{})
	go func() { h.readNotices(); close(heard) }()
	go func() {
		for {
			select {
			case h.present <- h.main:
			case pid := <-h.named:
				h.promote(pid)
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = h.notices.Close()
		<-heard
		if h.manager != nil {
			_ = h.manager.Close()
		}
		close(done)
	})
	return h
}

// say sends a datagram with descriptors.
func (h *hearing) say(text string, fds ...int) {
	h.Helper()
	if err := say(h.socket, text, fds...); err != nil {
		h.Fatal(err)
	}
}

func say(socket, text string, fds ...int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(fd, []byte(text), oob, &unix.SockaddrUnix{Name: socket}, 0)
}

// wantNext wants a datagram at the manager.
func (h *hearing) wantNext(text string, files int) {
	h.Helper()
	b, oob := make([]byte, 2*noticeSize), make([]byte, unix.CmsgSpace(4*noticeFDs))
	_ = h.manager.SetReadDeadline(time.Now().Add(time.Minute))
	n, oobn, _, _, err := h.manager.ReadMsgUnix(b, oob)
	if err != nil {
		h.Fatal(err)
	}
	_, fds := parseControl(oob[:oobn])
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	if string(b[:n]) != text || len(fds) != files {
		h.Errorf("the manager hears %q with %d descriptors; want %q with %d", b[:n], len(fds), text, files)
	}
}

// wantNone wants nothing of what was said to have arrived: a barrier of this user always does.
func (h *hearing) wantNone() {
	h.Helper()
	h.say("BARRIER=1", 0)
	h.wantNext("BARRIER=1", 1)
}

func (h *hearing) wantMain(pid int) {
	h.Helper()
	if main := <-h.present; main.pid != pid {
		h.Errorf("%d is main; want %d", main.pid, pid)
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

var self = os.Getpid()

// A manager hears what the main generation says, but which one it is: to the manager, that is the keeper.
func TestMainGenerationIsHeard(t *testing.T) {
	next := child(t)
	h := hear(t, &generation{self, -1})
	for _, c := range []struct {
		said, passed string
		files        int
	}{
		{"READY=1\nSTATUS=up", "READY=1\nSTATUS=up", 0},
		{"FDSTORE=1\nFDNAME=web", "FDSTORE=1\nFDNAME=web", 2},
		{fmt.Sprintf("MAINPID=%d\nREADY=1\n", self), "READY=1", 0},
		{"MAINPID=no\nMAINPID=-5\n\nX_OURS=1", "X_OURS=1", 0},
	} {
		h.say(c.said, make([]int, c.files)...)
		h.wantNext(c.passed, c.files)
	}
	h.wantMain(self)
	h.say(fmt.Sprintf("MAINPID=%d\nREADY=1", next.pid))
	h.wantNext("READY=1", 0)
	h.wantMain(next.pid)
	h.say("STOPPING=1") // from one that is main no more
	h.wantNone()
}

// Others are not heard, and leave no descriptor behind.
func TestOthersAreNotHeard(t *testing.T) {
	main := child(t)
	h := hear(t, main)
	h.wantNone()
	before := openFDs(t)
	for _, text := range []string{
		"", "\n\n", "READY=1", "STOPPING=1", "BARRIER=1\nSTOPPING=1", "\x00\xff\n=\n=1",
		"MAINPID=", "MAINPID=1", "MAINPID=-1\nREADY=1", fmt.Sprintf("MAINPID=%d", main.pid),
		strings.Repeat("X", noticeSize+1), strings.Repeat("READY=1\n", 8000),
	} {
		h.say(text)
		h.say(text, 0, 1, 2)
	}
	h.wantNone()
	h.wantMain(main.pid)
	if after := openFDs(t); after > before+1 { // that of the last barrier
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// A datagram that is too long is not cut to its beginning, even the main generation's.
func TestLongDatagramsAreDropped(t *testing.T) {
	h := hear(t, &generation{self, -1})
	long := strings.Repeat("X", noticeSize)
	h.say(long)
	h.wantNext(long, 0)
	h.say(long + "Y")
	h.wantNone()
}

// A generation that names itself is followed when the main one is dead; only then, and only if it is this user's.
func TestSurvivorOfASwapIsFollowed(t *testing.T) {
	claim := fmt.Sprintf("MAINPID=%d\nREADY=1", self)
	for _, c := range []struct {
		name     string
		dead     bool
		uid      int
		followed bool
	}{
		{"while the main one lives", false, 0, false},
		{"of another user", true, 65534, false},
		{"of this user", true, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.uid != 0 && os.Getuid() != 0 {
				t.Skip("only root can be another user")
			}
			main := child(t)
			if c.dead {
				kill(t, main)
			}
			h := hear(t, main)
			said := make(chan error, 1)
			go func() { // the thread that becomes another user ends with its goroutine
				if uid := uintptr(c.uid); uid != 0 {
					runtime.LockOSThread()
					if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
						said <- errno
						return
					}
				}
				said <- say(h.socket, claim)
			}()
			if err := <-said; err != nil {
				t.Fatal(err)
			}
			if c.followed {
				h.wantNext("READY=1", 0)
				h.wantMain(self)
			} else {
				h.wantNone()
				h.wantMain(main.pid)
			}
		})
	}
}

// A keeper hears its generations where no manager is above it, or one that is gone.
func TestManagerThatIsGone(t *testing.T) {
	for _, upstream := range []string{"", "/nowhere/at/all"} {
		next := child(t)
		h := hearBelow(t, &generation{self, -1}, upstream)
		h.say("READY=1")
		h.say(fmt.Sprintf("MAINPID=%d\nREADY=1", next.pid))
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		h.say("BARRIER=1", int(w.Fd()))
		_ = w.Close()
		_ = r.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := r.Read(make([]byte, 1)); n > 0 || os.IsTimeout(err) {
			t.Errorf("%v; want that the barrier is answered", err)
		}
		h.wantMain(next.pid)
	}
}
