package drain_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a bad machine keeps from the new program makes the swap fail with a reason, and costs nothing.
func TestSwapWithoutResourcesFailsAndLosesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, unheard)
	s.installReal()
	l := s.drive(2, 4*time.Millisecond)
	for _, c := range []struct{ name, reason, text string }{
		{"no memory", "exit", "ulimit -v 20000; exec $real"},
		{"few descriptors", "exit status", "ulimit -n 12; exec $real"},
		{"no descriptors", "exit", "ulimit -n 9; exec $real"},
		{"no room in files", "file too large", "ulimit -f 0; exec $real"},
		{"no time", "signal: killed", "ulimit -t 1; while :; do :; done"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.wantFailure(l, c.reason, func() { s.replace(s.script(c.text)) })
			s.wantFamily(s.pgid)
		})
	}
	s.install()
	s.swap()
	l.end()
	s.stop()
	s.wantNothingLost()
}

// fillDisk leaves no room in a file system, for data or for names.
func fillDisk(t testing.TB, dir string) (empty func()) {
	t.Helper()
	var all []string
	for i := 0; ; i++ {
		path := filepath.Join(dir, "fill"+string(rune('a'+i)))
		err := os.WriteFile(path, make([]byte, 1<<16), 0o644)
		all = append(all, path)
		if _, statErr := os.Lstat(path); statErr != nil {
			break
		}
		if !errors.Is(err, syscall.ENOSPC) || i > 20 {
			t.Fatal(err)
		}
	}
	return func() {
		for _, path := range all {
			_ = os.Remove(path)
		}
	}
}

// A log on a full disk holds nothing up.
func TestLogOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	mountTiny(t, dir)
	empty := func() {}
	s := start(t, plan{}, withControl, func(_ *service, cmd *exec.Cmd) {
		f := have(os.Create(filepath.Join(dir, "log")))(t)
		empty = fillDisk(t, dir)
		cmd.Stderr = f
	})
	defer empty()
	l := s.drive(2, 4*time.Millisecond)
	for range 2 {
		s.mustControl("swap")
		s.mustControl("pull")
		s.mustControl("restore")
	}
	if st := s.mustControl("status"); st.Total.LogDropped == 0 {
		t.Errorf("%+v; want lines that the log has no room for to be counted", st.Total)
	}
	l.end()
	s.mustControl("stop")
	s.wantNoControl()
}

// So does a full disk, or one that has become read-only, at the places of the PID file and the control socket: the swap
// fails, the old generation serves on and answers, and the next swap works when there is room.
func TestSwapOnAFullOrReadOnlyDiskFailsAndLosesNothing(t *testing.T) {
	parallel(t)
	for _, c := range []struct {
		name, reason string
		pid, moved   bool // where the PID file lies; the control socket comes there in the swap, or is there
		spoil        func(t testing.TB, dir string) (mend func())
	}{
		{name: "full, PID file", reason: "Config.PIDFile: can't write", pid: true, spoil: fillDisk},
		{name: "full, control socket", reason: "no space left on device; name a file", moved: true, spoil: fillDisk},
		{name: "read-only, PID file", reason: "read-only file system", pid: true, spoil: readOnly},
		{name: "read-only, control socket", reason: "read-only file system", moved: true, spoil: readOnly},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := shortDir(t)
			mountTiny(t, dir)
			p := plan{}
			if c.pid {
				p.PIDFile = filepath.Join(dir, "pid")
			}
			s := start(t, p, withControl)
			control := s.plan.Control
			l := s.drive(2, 4*time.Millisecond)
			mend := func() {}
			s.wantFailure(l, c.reason, func() {
				mend = c.spoil(t, dir)
				if c.moved {
					s.plan.Control = filepath.Join(dir, "control")
					s.replan()
				}
			})
			if _, err := s.controlAt(control, "status"); err != nil {
				t.Error(err)
			}
			mend()
			if names, _ := filepath.Glob(filepath.Join(dir, "*.*")); len(names) > 0 {
				t.Errorf("%v is left", names)
			}
			s.swap()
			l.end()
			s.mustControl("stop")
			s.wantNoControl()
			s.wantNothingLost()
		})
	}
}

func readOnly(t testing.TB, dir string) (mend func()) {
	t.Helper()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skip(err)
	}
	return func() {
		must(t, unix.Mount("", dir, "", unix.MS_REMOUNT, ""))
	}
}

// Fifty swaps that fail, each in a way of its own, leave no descriptor and no goroutine.
func TestFailedSwapsOfAllKindsAreFlat(t *testing.T) {
	s := start(t, plan{SwapTimeout: 2 * time.Second}, withControl, unheard)
	s.installReal()
	fail := func() {
		for _, text := range []string{
			"exit 0", "kill -9 $$", "printf '*' >&3", "setsid sleep 1000 & exit 0", "ulimit -n 11; exec $real",
			"ulimit -v 20000; exec $real",
			"exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-",
		} {
			s.replace(s.script(text))
			s.failedSwap()
		}
		for _, create := range []func(string) error{foreign, write("", 0o755), write("#!/nowhere\n", 0o755)} {
			s.replace(create)
			s.failedSwap()
		}
		s.install()
		for _, fault := range []string{"ready fails", "crash at start", "preflight fails"} {
			s.failSwap(fault)
		}
	}
	fail()
	early := s.rested(nil)
	for range *rounds {
		fail()
	}
	late := s.rested(&burden{early.fds + 1, early.goroutines + 1})
	t.Logf("after 13 failed swaps %+v, after %d %+v", early, 13+13**rounds, late)
	s.swap()
	s.stop()
}

// queueUp connects n clients that send one request each, and returns what waits for the answers and tells how
// many came.
func (s *service) queueUp(n int) (answered func() int) {
	s.Helper()
	var clients []*client
	for i := range n {
		c := s.connect()
		_ = c.SetDeadline(time.Now().Add(2 * hung))
		const request = "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n%04d"
		if _, err := fmt.Fprintf(c, request, i); err != nil {
			s.Fatal(err)
		}
		clients = append(clients, c)
	}
	return func() (n int) {
		for i, c := range clients {
			if a, err := c.receive(); err == nil && a.status == 200 && a.body == fmt.Sprintf("%04d", i) {
				n++
			}
			_ = c.Close()
		}
		return n
	}
}

func (s *service) starve(spare int) {
	s.Helper()
	c := s.connect()
	if a, err := c.ask("POST", fmt.Sprintf("/do?it=starve&spare=%d", spare), ""); err != nil || a.status != 200 {
		s.Fatal(a, err)
	}
	_ = c.Close()
}

// starved is a service that will have so many free descriptors.
type starved struct {
	network string
	spare   int
}

func (c starved) start(t *testing.T) *service {
	p := plan{Network: c.network}
	if c.network == "unix" {
		p.Addr = socketPath(t)
	}
	return start(t, p)
}

// A generation that is out of descriptors leaves those who wait in the kernel's queue to the next one.
func TestClientsOfAStarvedGenerationAreServedByTheNext(t *testing.T) {
	eachOf(t, func(t *testing.T, c starved) {
		s := c.start(t)
		open := s.beginSwap("in Ready")
		s.starve(c.spare)
		for range c.spare { // they have what is spare: one descriptor could serve all, one after the other
			defer s.connect().Close()
		}
		const n = 200
		answered := s.queueUp(n)
		s.awaitLog("raise its limit of open files", func() {})
		open()
		two := s.event(2, "promoted")
		if got := answered(); got != n {
			t.Errorf("%d of %d have their answer", got, n)
		}
		s.wantExit(s.pgid, 0)
		s.wantAlone(two.PID)
		s.stop()
		s.wantNothingLost()
	}, starved{"tcp", 0}, starved{"tcp", 1}, starved{"tcp", 2}, starved{"tcp", 5},
		starved{"unix", 0}, starved{"unix", 1}, starved{"unix", 2}, starved{"unix", 5})
}

// In the last stop there is no next one: they are served as descriptors become free.
func TestClientsOfAStarvedServiceAreServedAtTheEnd(t *testing.T) {
	eachOf(t, func(t *testing.T, c starved) {
		s := c.start(t)
		s.starve(c.spare)
		var idle []net.Conn // they have what is spare
		for range c.spare {
			idle = append(idle, s.connect())
		}
		const n = 100
		answered := s.queueUp(n)
		s.awaitLog("raise its limit of open files", func() {})
		s.signal(s.pgid, term)
		s.event(1, "draining")
		for _, nc := range idle {
			_ = nc.Close()
		}
		if got := answered(); got != n {
			t.Errorf("%d of %d have their answer", got, n)
		}
		s.wantExit(s.pgid, 0)
		s.wantNothingLost()
	}, starved{"tcp", 1}, starved{"tcp", 2}, starved{"tcp", 5},
		starved{"unix", 1}, starved{"unix", 2}, starved{"unix", 5})
}
