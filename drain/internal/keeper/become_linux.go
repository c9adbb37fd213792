package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/later"
	"github.com/baton-go/baton/drain/internal/process"
)

// lastWords is how long the keeper waits for its last log line to be taken.
const lastWords = time.Second

// past is what the keeper is told by the program that it has replaced. Both are one binary: this may change.
type past struct {
	PID         int
	Binary, Dir string // see process.Origin
	Name        string // of the process, as ps and killall have it
	Stop        []syscall.Signal
	Mask        unix.Sigset_t    // of blocked signals
	Ignored     []syscall.Signal // from the start
	JSON        bool             // log lines
	Level       slog.Level       // of these, at least
}

// Become replaces the program with the keeper, by exec of what runs. So nothing of the program lives on in the keeper:
// its goroutines are gone, and what Go has opened is closed. It returns only if that can't be. Log is asked how the
// keeper's lines are to look; stop are the signals that end the service.
func Become(log *slog.Logger, stop []os.Signal) error {
	self := process.Self
	if self.Binary == "" {
		return cantStart(fmt.Errorf("no path leads to the binary of this process; start it by its path"))
	}
	if err := unix.Access(self.Binary, unix.X_OK); err != nil {
		return cantStart(fmt.Errorf("%s: %w", self.Binary, err))
	}
	p := past{PID: os.Getpid(), Binary: self.Binary, Dir: self.Dir, Ignored: ignored}
	name, _ := os.ReadFile("/proc/self/comm")
	p.Name = strings.TrimSuffix(string(name), "\n")
	for _, sig := range stop {
		if n, ok := sig.(syscall.Signal); ok {
			p.Stop = append(p.Stop, n)
		}
	}
	_, p.JSON = log.Handler().(*slog.JSONHandler)
	for p.Level = slog.LevelDebug; p.Level < slog.LevelError && !log.Enabled(context.Background(), p.Level); {
		p.Level += slog.LevelInfo - slog.LevelDebug
	}
	var err error
	onFirstThread(func() { err = p.exec() })
	return err
}

// onFirstThread runs f on the first thread of the process. An exec from another one makes /proc show the process as a
// zombie for a moment, which a starter may take for its end. Where that thread is not to be had, f runs on another one.
func onFirstThread(f func()) {
	const most = 8 // threads that are kept from the next try: a limit of tasks may be near
	here := func() (first bool) {
		runtime.LockOSThread()
		if first = unix.Gettid() == os.Getpid(); first {
			f()
		}
		return first
	}
	defer runtime.UnlockOSThread()
	if here() {
		return
	}
	over := make(chan struct{})
	defer close(over)
	for range most {
		tried := make(chan bool)
		go func() {
			defer runtime.UnlockOSThread()
			tried <- here()
			<-over
		}()
		if <-tried {
			return
		}
	}
	f()
}

// exec returns only if it can't be.
func (p *past) exec() error {
	const runs = "/proc/self/exe"
	// A signal that comes before the keeper has its handlers would end it. So it is blocked, and waits. HUP does not
	// stay blocked in a program in Go, but ignored: generation 1, which is started later, is what a swap would bring.
	// TERM ends the process, which is right.
	if !slices.Contains(p.Stop, unix.SIGHUP) {
		ignoreHUP()
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, signalSet(forwarded()), &p.Mask); err != nil {
		return fmt.Errorf("drain: Config.Keeper: signal mask: %w", err)
	}
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &p.Mask, nil) }()
	for fd, kept := range process.Self.Stdio { // the program may have put others there
		if kept != fd {
			_ = unix.Dup3(kept, fd, 0)
		}
	}
	told, err := json.Marshal(p)
	if err == nil {
		env := append(process.Without(process.Self.Env, process.KeepEnv), process.KeepEnv+"="+string(told))
		err = syscall.Exec(runs, process.Self.Args, env)
	}
	return fmt.Errorf("drain: Config.Keeper: can't become the keeper: exec %s: %w; KeeperNever does without", runs, err)
}

// ignoreHUP is signal.Ignore in one step. That one first forgets the program's handler: a HUP at that moment ends the
// process.
func ignoreHUP() {
	if strings.HasPrefix(runtime.GOARCH, "mips") { // whose kernel has another struct
		signal.Ignore(unix.SIGHUP)
		return
	}
	action := [8]uintptr{1} // SIG_IGN; no flags, no mask
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGHUP), uintptr(unsafe.Pointer(&action)),
		0, 8, 0, 0)
}

// ignored are the signals that this process was started with as ignored, by nohup or by a shell's "&".
var ignored []syscall.Signal

func isIgnored(sig os.Signal) bool { return slices.Contains(ignored, sig.(syscall.Signal)) }

func signalSet(all []os.Signal) *unix.Sigset_t {
	var set unix.Sigset_t
	word := uint(unsafe.Sizeof(set.Val[0]) * 8)
	for _, sig := range all {
		n := uint(sig.(syscall.Signal)) - 1
		set.Val[n/word] |= 1 << (n % word)
	}
	return &set
}

// The program's main never runs in a keeper, nor does the init of packages that import this one.
func init() {
	told := process.Getenv(process.KeepEnv)
	_ = os.Unsetenv(process.KeepEnv)
	process.Self.Env = process.Without(process.Self.Env, process.KeepEnv)
	var p past
	if json.Unmarshal([]byte(told), &p) == nil && p.PID == os.Getpid() {
		ignored = p.Ignored
		os.Exit(p.keep())
	}
	for _, sig := range forwarded() {
		if signal.Ignored(sig) {
			ignored = append(ignored, sig.(syscall.Signal))
		}
	}
	// For the first Notify the runtime takes a thread for good, mostly the caller's. In an init, that is not the first
	// one, which onFirstThread looks for.
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, unix.SIGCHLD)
	signal.Stop(heard)
}

// keep is what the keeper does. It runs on the main thread, whose name is the process's, and whose signal mask
// generation 1 inherits.
func (p *past) keep() (code int) {
	if name, err := unix.ByteSliceFromString(p.Name); err == nil {
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
	}
	process.OutliveBrokenPipes()
	process.Self.Binary, process.Self.Dir = p.Binary, p.Dir
	var lines slog.Handler = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: p.Level})
	if p.JSON {
		lines = slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: p.Level})
	}
	queue := later.NewHandler(lines)
	log := slog.New(queue).With("pid", p.PID)
	code, err := stay(log, p.Stop, &p.Mask)
	if err != nil {
		log.Error(err.Error())
	}
	late, done := context.WithTimeout(context.Background(), lastWords)
	defer done()
	queue.Flush(late)
	return code
}
