package drain_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Who is above the keeper follows the keeper: it hears all but MAINPID, from the keeper, in order.
func TestKeeperPassesOnWhatAManagerIsTold(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		n := newNotifySocket(t)
		s := start(t, plan{}, how, n.manages)
		keeper := s.keeper()
		if text := s.get("/subprocess").body; strings.Contains(text, "NOTIFY_SOCKET") ||
			strings.Contains(text, "BATON_KEEPER") {
			t.Errorf("a subprocess has %s", text)
		}
		_, at := n.await(0, `READY=1\n(?s:.*)`)
		n.turnDeaf()
		mark := s.mark()
		s.signal(keeper, syscall.SIGHUP)
		_, at = n.await(at+1, `RELOADING=1\nMONOTONIC_USEC=\d+(?s:.*)`)
		_, at = n.await(at+1, `READY=1\nSTATUS=generation 2 takes over`)
		d, at := n.await(at+1, `BARRIER=1`)
		if d.files != 1 {
			t.Errorf("BARRIER=1 with %d descriptors", d.files)
		}
		s.wantNone(mark, "promoted")
		n.answer()
		s.eventSince(mark, 2, "older generation is gone") // whose words don't count

		s.tellMain("/notify?files=2&text=" + url.QueryEscape("FDSTORE=1\nFDNAME=web"))
		if d, _ := n.await(at+1, `FDSTORE=1\nFDNAME=web`); d.files != 2 {
			t.Errorf("FDSTORE=1 with %d descriptors", d.files)
		}
		s.signal(keeper, syscall.SIGTERM)
		s.wantKeeperExit(0)
		n.await(at+1, `STOPPING=1\n(?s:.*)`)
		for _, d := range n.since(0) {
			if d.pid != keeper || strings.Contains(d.text, "MAINPID") {
				t.Errorf("from %d: %q; want it from the keeper (%d), without MAINPID", d.pid, d.text, keeper)
			}
		}
	})
}

// The main generation is killed while the next one is in its swap: that one takes over, and the keeper follows.
func TestKeeperFollowsTheSurvivorOfASwap(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		s := start(t, plan{}, how)
		keeper := s.keeper()
		open := s.beginSwapBy(keeper, "in Ready")
		s.signal(children(keeper)[0].pid, syscall.SIGKILL)
		open()
		s.event(2, "promoted")
		s.eventually("that the keeper knows", func() bool { return s.logged("keeper: another generation is main") })
		s.swapBy(s.keeper())
		s.signal(keeper, syscall.SIGTERM)
		s.wantKeeperExit(0)
	})
}

// A generation that is halted in a swap is the one that the keeper follows, also when the next one serves, until it is
// killed.
func TestKeeperFollowsTheNextWhereTheOldWasHalted(t *testing.T) {
	kept(t, func(t *testing.T, how func(*service, *exec.Cmd)) {
		s := start(t, plan{}, how)
		keeper := s.keeper()
		open := s.beginSwapBy(keeper, "in Ready")
		old := children(keeper)[0].pid
		s.signal(old, syscall.SIGSTOP)
		open()
		s.event(2, "promoted")
		<-time.After(1500 * time.Millisecond) // for longer than the keeper waits for the end of the old one
		s.signal(old, syscall.SIGKILL)
		s.eventually("that the keeper knows", func() bool { return s.logged("keeper: another generation is main") })
		s.signal(keeper, syscall.SIGTERM)
		s.wantKeeperExit(0)
	})
}

// Sockets that a service manager has passed to the keeper are generation 1's, and not the keeper's any more.
func TestKeeperPassesOnWhatWasPassedToIt(t *testing.T) {
	ln := have(net.Listen("tcp", "127.0.0.1:0"))(t)
	f, err := ln.(*net.TCPListener).File()
	_ = ln.Close()
	must(t, err)
	defer f.Close()
	var want unix.Stat_t
	must(t, unix.Fstat(int(f.Fd()), &want))
	s := start(t, plan{}, withKeeper, func(s *service, cmd *exec.Cmd) {
		const script = `LISTEN_FDS=1 LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$0"`
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", script, s.binary}
		cmd.ExtraFiles = []*os.File{f}
	})
	main := s.main().PID
	s.noteSince(0, main, fmt.Sprintf("LISTEN_PID %d WATCHDOG_PID %d", main, main))
	holds := func(pid int) bool {
		return slices.ContainsFunc(fds(t, pid), func(fd string) bool {
			return strings.Contains(fd, fmt.Sprintf("socket:[%d]", want.Ino))
		})
	}
	if holds(s.keeper()) {
		t.Errorf("the keeper still has the socket %d: %v", want.Ino, fds(t, s.keeper()))
	}
	s.signal(s.keeper(), syscall.SIGTERM)
	s.wantKeeperExit(0)
}

// Ctrl-C sends INT to every process in the foreground. Were it forwarded, too, the service would leave at once.
func TestKeeperOnATerminalIsInterruptedOnce(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals: %v", err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	must(t, err)
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals: %v", err)
	}
	s := start(t, plan{}, withKeeper, func(_ *service, cmd *exec.Cmd) {
		cmd.Stdin = tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	})
	_ = tty.Close()
	s.swapBy(s.keeper())
	c, open := s.slow("slow")
	mark := s.mark()
	if _, err := master.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	s.eventSince(mark, 2, "draining")
	s.finishSlow(c, open)
	s.wantKeeperExit(0)
	main := s.main().PID
	signals := slices.DeleteFunc(s.since(mark), func(r record) bool {
		return r.PID != main ||
			!strings.HasPrefix(r.Note, "signal:")
	})
	if len(signals) != 1 || signals[0].Note != "signal: SIGINT" {
		t.Errorf("%v; want one interrupt", signals)
	}
}
