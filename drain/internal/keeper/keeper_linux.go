// Package keeper is the process that stays when generations come and go: the one whose pid a container
// or a supervisor follows.
package keeper

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/process"
	"github.com/baton-go/baton/drain/internal/sdnotify"
)

// keeper is the process whose pid a container or a supervisor follows. Become starts it, by exec. It serves nothing: it
// starts generation 1, forwards signals to the main generation, reaps, and exits after the last generation.
//
// It learns which generation is main as a service manager does, from the datagrams that the
// generations send to NOTIFY_SOCKET, which is the keeper's own socket. A socket pair tells it that no
// generation is left: each holds the far end, with close-on-exec, so that subprocesses don't count.
// The socket pair tells the generations, in turn, that the keeper has exited.
//
// One goroutine, in run, owns the state.
type keeper struct {
	log      *slog.Logger
	stop     []syscall.Signal
	mask     *unix.Sigset_t // of generation 1
	upstream string         // NOTIFY_SOCKET as it was given to the keeper, or ""
	notices  *net.UnixConn  // NOTIFY_SOCKET of the generations

	present  chan *generation // run sends the main one
	named    chan int         // pids of the next main ones
	heard    chan line        // of generations that count signals
	signals  chan os.Signal   // to be forwarded
	died     chan os.Signal   // SIGCHLD
	handling chan struct{}    // closed when generation 1 has its signal handlers; nil when run knows
	gone     chan struct{}    // closed when no generation has the far end; nil when run knows

	// Owned by run.
	main      *generation
	before    []*generation // were main, the oldest first
	held      []os.Signal
	lines     map[int]line // by pid
	codes     map[int]int  // exit codes of what was reaped: no more than there are pids
	childless bool
}

// Has tells whether a keeper has started this process, or said something that it can't have.
func Has() bool { return farEnd != nil || farEndErr != nil }

// stay keeps, and returns the exit code when no generation is left. Stop are the signals that end the service; mask is
// what generation 1 is to be started with.
func stay(log *slog.Logger, stop []syscall.Signal, mask *unix.Sigset_t) (code int, err error) {
	k := &keeper{
		log: log, stop: stop, mask: mask, upstream: sdnotify.Socket(), present: make(chan *generation),
		named: make(chan int), heard: make(chan line), lines: make(map[int]line),
		signals: make(chan os.Signal, 64), died: make(chan os.Signal, 1),
		handling: make(chan struct{}), gone: make(chan struct{}), codes: make(map[int]int),
	}
	if err := k.start(); err != nil {
		return 1, cantStart(err)
	}
	return k.run(), nil
}

func cantStart(err error) error {
	return fmt.Errorf("drain: Config.Keeper: the keeper can't start generation 1: %w; KeeperNever does without", err)
}

// start closes nothing when it fails: the process exits then.
func (k *keeper) start() (err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	name := sdnotify.AloneSocket
	if k.upstream != "" {
		name = sdnotify.RelaySocket
	}
	name += rand.Text()
	if k.notices, err = listenNotices(name); err != nil {
		return err
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	near := os.NewFile(uintptr(ends[0]), "generations")
	signal.Notify(k.died, unix.SIGCHLD)
	signal.Notify(k.signals, slices.DeleteFunc(forwarded(), isIgnored)...)
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, k.mask, nil); err != nil {
		return fmt.Errorf("signal mask: %w", err)
	}
	pid, err := startFirst(name, ends[1])
	if err != nil {
		return fmt.Errorf("%s: %w", process.Self.Binary, err)
	}
	k.main = newGeneration(pid)
	select {
	case k.died <- unix.SIGCHLD: // what the program has started before New may have ended while no handler was there
	default:
	}
	k.log.Info("keeper: generation 1 started", "main", pid)
	go k.watch(near)
	go k.readNotices()
	return nil
}

// startFirst starts generation 1 as this process was started, with the far end. It stays in the process group: there a
// terminal, a shell and a supervisor reach all of the service, by kill -9 and Ctrl-Z too. A signal comes to it twice
// then, and counts once: see Hear.
func startFirst(socket string, far int) (int, error) {
	self := process.Self
	env := append(process.Without(self.Env, "NOTIFY_SOCKET", process.KeeperEnv), "NOTIFY_SOCKET="+socket,
		fmt.Sprintf("%s=%d %d", process.KeeperEnv, os.Getpid(), far))
	// By number, not through Files: the far end must not replace what was passed to this process.
	if _, err := unix.FcntlInt(uintptr(far), unix.F_SETFD, 0); err != nil {
		return 0, err
	}
	files := []uintptr{uintptr(self.Stdio[0]), uintptr(self.Stdio[1]), uintptr(self.Stdio[2])}
	pid, err := syscall.ForkExec(self.Binary, self.Args,
		&syscall.ProcAttr{Dir: self.Dir, Env: env, Files: files})
	if err == nil {
		closePassed()
	}
	return pid, err
}

// closePassed closes what this process has passed on to generation 1: the keeper would keep sockets of
// a service manager open, and clients would wait in them. What Go opens is close-on-exec; the rest was
// inherited.
func closePassed() {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < 3 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

// forwarded is every signal but those that are about the keeper itself. SIGPIPE is caught, so that a
// log without a reader does not end the keeper, and not forwarded. What is ignored from the start, generation 1 is to
// ignore, too.
func forwarded() (all []os.Signal) {
	for n := unix.Signal(1); n < 65; n++ {
		switch n {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGURG, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		default:
			all = append(all, n)
		}
	}
	return all
}

// watch reads the near end.
func (k *keeper) watch(near *os.File) {
	handling := k.handling
	for gone := k.gone; ; {
		n, err := near.Read(make([]byte, 1))
		if n > 0 && handling != nil {
			close(handling)
			handling = nil
		}
		if err != nil {
			close(gone)
			return
		}
	}
}

func (k *keeper) run() (code int) {
	for {
		select {
		case <-k.died:
			k.reap()
		case k.present <- k.main:
		case pid := <-k.named:
			k.promote(pid)
		case l := <-k.heard:
			k.hears(l)
		case sig := <-k.signals:
			k.forward(sig)
		case <-k.handling:
			k.handling = nil
			for _, sig := range k.held {
				k.forward(sig)
			}
			k.held = nil
		case <-k.gone:
			k.gone = nil
			k.reap()
		}
		if k.childless || k.gone == nil && !k.exists(k.main) {
			return k.end()
		}
	}
}

func (k *keeper) forward(sig os.Signal) {
	switch {
	case sig == unix.SIGPIPE:
		return
	case k.handling != nil && !k.ends(sig): // it could kill a process without handlers
		k.held = append(k.held, sig)
		return
	}
	to := []*generation{k.main}
	if !k.lives(k.main) {
		to = k.before
	}
	for _, g := range to {
		if k.say(g, sig) {
			continue
		}
		if err := g.signal(sig); err != nil && k.lives(g) {
			k.log.Error("keeper: can't forward a signal", "to", g.pid, "signal", sig, "err", err)
		}
	}
}

// ends tells whether a signal may be meant to end a generation that has not come as far as New.
func (k *keeper) ends(sig os.Signal) bool {
	n := sig.(syscall.Signal)
	return slices.Contains(k.stop, n) || slices.Contains([]syscall.Signal{unix.SIGTERM,
		unix.SIGINT, unix.SIGQUIT, unix.SIGABRT}, n)
}

// reap waits for every child that has exited, the generations' orphans too.
func (k *keeper) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG|syscall.WUNTRACED, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			k.childless = true
			return
		case pid == 0:
			return
		case ws.Stopped():
			k.suspend(pid, ws.StopSignal())
		default:
			k.codes[pid] = exitCode(ws)
			k.before = slices.DeleteFunc(k.before, func(g *generation) bool { return g.pid == pid && g.close() })
		}
	}
}

// lives tells whether g has not exited.
func (k *keeper) lives(g *generation) bool {
	_, reaped := k.codes[g.pid]
	return !reaped && g.alive()
}

// exists tells whether no process has reaped g. A zombie child of an older generation becomes a child
// of the keeper when that generation has exited.
func (k *keeper) exists(g *generation) bool {
	_, reaped := k.codes[g.pid]
	return !reaped && !errors.Is(g.signal(syscall.Signal(0)), unix.ESRCH)
}

// promote makes the process the main generation.
func (k *keeper) promote(pid int) {
	if pid == k.main.pid {
		return
	}
	k.before = append(slices.DeleteFunc(k.before, func(g *generation) bool { return !k.lives(g) && g.close() }), k.main)
	k.main = newGeneration(pid)
	if k.main.alive() {
		delete(k.codes, pid) // of another process that had the number before
	}
	k.log.Info("keeper: another generation is main", "main", pid)
}

// end returns the exit code of the last main generation.
func (k *keeper) end() int {
	code, known := k.codes[k.main.pid]
	if !known {
		code, known = k.main.exitCode() // its parent, an older generation, has reaped it
	}
	if !known {
		code = 1 // it crashed: a clean stop waits for the older ones
	}
	k.log.Info("keeper: no generation is left", "main", k.main.pid, "exit_code", code, "known", known)
	return code
}
