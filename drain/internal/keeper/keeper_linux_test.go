package keeper

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/process"
)

// The tests of this package do not run in parallel: a keeper reaps all children of its process.

// child starts a process that lives until a signal, or the end of the test, ends it.
func child(t *testing.T) (g *generation) {
	t.Helper()
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGHUP) // under nohup(1) the child would ignore it otherwise
	defer signal.Stop(caught)
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g = newGeneration(cmd.Process.Pid)
	t.Cleanup(func() {
		_ = unix.Kill(g.pid, unix.SIGKILL)
		_ = cmd.Wait()
		g.close()
	})
	return g
}

// awaitExit returns when g has exited. It leaves g a zombie.
func awaitExit(t *testing.T, g *generation) {
	t.Helper()
	for {
		err := unix.Waitid(unix.P_PID, g.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			return
		} else if err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

func kill(t *testing.T, g *generation) {
	t.Helper()
	if err := g.signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitExit(t, g)
}

// newKeeper returns a keeper that does not run, and its log.
func newKeeper(main *generation) (*keeper, *bytes.Buffer) {
	var log bytes.Buffer
	return &keeper{
		log:      slog.New(slog.NewTextHandler(&log, nil)),
		stop:     []syscall.Signal{unix.SIGTERM},
		present:  make(chan *generation),
		named:    make(chan int),
		signals:  make(chan os.Signal, 1),
		died:     make(chan os.Signal, 1),
		handling: make(chan struct{}),
		gone:     make(chan struct{}),
		codes:    make(map[int]int),
		main:     main,
	}, &log
}

// A zombie is not alive, and exists until it is reaped: with and without a pidfd.
func TestLifeOfAGeneration(t *testing.T) {
	for _, way := range []string{"pidfd", "number"} {
		t.Run(way, func(t *testing.T) {
			g := child(t)
			if way == "number" {
				g.close()
				g.fd = -1
			} else if g.fd < 0 {
				t.Skip("the kernel has no pidfd")
			}
			k, _ := newKeeper(g)
			if !g.alive() || !k.lives(g) || !k.exists(g) || g.ends(time.Millisecond) {
				t.Error("a process that runs is taken for dead")
			}
			kill(t, g)
			if g.alive() || k.lives(g) || !k.exists(g) || !g.ends(time.Millisecond) {
				t.Error("a zombie is alive, or gone")
			}
			k.reap()
			if k.lives(g) || k.exists(g) || !k.childless {
				t.Error("a process that was reaped exists")
			}
			if code := k.end(); code != 128+9 {
				t.Errorf("exit code %d; want that of kill -9", code)
			}
			if code, known := g.exitCode(); known && code != 128+9 {
				t.Errorf("the kernel says exit code %d", code)
			}
		})
	}
}

// A crash whose exit code nobody knows is no success.
func TestUnknownExitCodeIsAFailure(t *testing.T) {
	k, _ := newKeeper(&generation{pid: 1 << 30, fd: -1})
	if code := k.end(); code != 1 {
		t.Errorf("exit code %d; want 1", code)
	}
}

func TestSignalsAreForwarded(t *testing.T) {
	for _, c := range []struct {
		name      string
		handling  bool // generation 1 has its handlers
		signals   []syscall.Signal
		want      syscall.Signal // which has ended the generation
		held      int
		mainIsOut bool // the main generation is dead, and an older one alive
	}{
		{"to the main generation", true, []syscall.Signal{unix.SIGUSR1}, unix.SIGUSR1, 0, false},
		{"to the older ones when it is dead", true, []syscall.Signal{unix.SIGHUP}, unix.SIGHUP, 0, true},
		{"but SIGPIPE", true, []syscall.Signal{unix.SIGPIPE, unix.SIGUSR1}, unix.SIGUSR1, 0, false},
		{"a stop at once", false, []syscall.Signal{unix.SIGHUP, unix.SIGTERM}, unix.SIGTERM, 1, false},
		{"a quit at once", false, []syscall.Signal{unix.SIGUSR2, unix.SIGHUP, unix.SIGQUIT}, unix.SIGQUIT, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := child(t)
			k, log := newKeeper(g)
			if c.handling {
				k.handling = nil
			}
			if c.mainIsOut {
				k.before, k.main = []*generation{g}, child(t)
				kill(t, k.main)
			}
			for _, sig := range c.signals {
				k.forward(sig)
			}
			awaitExit(t, g)
			k.reap()
			if got := k.codes[g.pid]; got != 128+int(c.want) || len(k.held) != c.held {
				t.Errorf("exit code %d, %d signals held; want %d and %d", got, len(k.held), 128+c.want, c.held)
			}
			if c.mainIsOut && len(k.before) > 0 {
				t.Error("a generation that was reaped is kept")
			}
			if log.Len() > 0 {
				t.Error(log)
			}
		})
	}
}

// What comes before generation 1 has its handlers goes to it as soon as it has them.
func TestHeldSignalsAreForwarded(t *testing.T) {
	k, _ := newKeeper(child(t))
	code := make(chan int)
	go func() { code <- k.run() }()
	k.signals <- unix.SIGHUP
	for len(k.signals) > 0 {
		<-k.present
	}
	g := <-k.present // the signal has been dealt with
	if !g.alive() {
		t.Error("the signal came before the handlers")
	}
	close(k.handling)
	awaitExit(t, g)
	k.died <- unix.SIGCHLD
	if got := <-code; got != 128+1 {
		t.Errorf("exit code %d; want that of a hangup", got)
	}
}

// A byte says that generation 1 has its handlers, the end that no generation is left.
func TestGenerationsTalkByTheFarEnd(t *testing.T) {
	k, _ := newKeeper(nil)
	near, far, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	go k.watch(near)
	for range 2 { // once for each generation
		if _, err := far.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		<-k.handling
	}
	select {
	case <-k.gone:
		t.Error("all are gone")
	default:
	}
	_ = far.Close()
	<-k.gone
}

func TestFarEndOfTheKeeper(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	far := ends[1]
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	env := process.Self.Env
	defer func() { process.Self.Env = env }()
	keeper := os.Getppid()
	for _, c := range []struct {
		name, told string
		word       string // of the error
		taken      bool
	}{
		{"nothing", "", "", false},
		{"garbage", "yes", "", false},
		{"of another keeper", fmt.Sprintf("%d %d", keeper+1, ends[1]), "", false},
		{"a standard file", fmt.Sprintf("%d 2", keeper), "descriptor 2 is no socket", false},
		{"no socket", fmt.Sprintf("%d %d", keeper, file.Fd()), "is no socket", false},
		{"closed", fmt.Sprintf("%d 1000000", keeper), "descriptor 1000000 is no socket", false},
		{"of a keeper that was killed", fmt.Sprintf("%d %d", os.Getpid(), ends[0]), "", true},
		{"it", fmt.Sprintf("%d %d", keeper, ends[1]), "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(process.KeeperEnv, c.told)
			t.Setenv("LISTEN_PID", fmt.Sprint(keeper))
			t.Setenv("WATCHDOG_PID", fmt.Sprint(keeper+1))
			process.Self.Env = []string{process.KeeperEnv + "=" + c.told}
			f, err := takeFarEnd()
			if (err != nil) != (c.word != "") || err != nil && !strings.Contains(err.Error(), c.word) ||
				(f != nil) != c.taken {
				t.Fatalf("%v, %v", f, err)
			}
			if c.told != "" && os.Getenv(process.KeeperEnv) != "" {
				t.Error("subprocesses would inherit the variable")
			}
			if f == nil {
				return
			}
			defer f.Close()
			if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("flags %x, %v; want close-on-exec", flags, err)
			}
			if os.Getenv("LISTEN_PID") != fmt.Sprint(os.Getpid()) && f.Fd() == uintptr(far) ||
				os.Getenv("WATCHDOG_PID") != fmt.Sprint(keeper+1) {
				t.Error("what was meant for the keeper is not this process's, or more is")
			}
		})
	}
}
