//go:build unix

package drain_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// hung is when something counts as hanging; nothing that works is near it.
const hung = time.Minute

// patient is an IdleGrace that no client which sends one request after another comes near. Whoever is not
// scheduled for a second looks like one at rest, and one that is not to be handed over is closed then.
const patient = 10 * time.Second

// forwarding is for how long a generation that was replaced forwards signals to the main one. A test that
// means the old one itself waits until that is over.
const forwarding = 2100 * time.Millisecond

const unknownExit = 1000

// service is a running service with all its generations, as a test sees it.
type service struct {
	testing.TB
	*world
}

type world struct {
	plan   plan // of the generations to come, after replan
	dir    string
	binary string // what it was started by, and starts the next by
	pgid   int    // pid of the first generation, which is its process group and session too

	apart bool // in a pid namespace: the pids in the records are not ours

	planned string
	eof     chan struct{} // closed when no generation has its standard output open any more

	mu      sync.Mutex // guards what follows
	records []record
	said    time.Time     // when the last of them came
	grown   chan struct{} // closed when records grows, and replaced
	exits   map[int]chan int
}

// begin starts a service, beside those of other tests; it waits for nothing. It skips the test under
// -short: what starts processes is `make e2e`.
func begin(t testing.TB, p plan, tweaks ...func(*service, *exec.Cmd)) *service {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	parallel(t)
	dir := have(os.MkdirTemp("", "baton"))(t)
	s := &service{t, &world{
		plan: p, dir: dir, binary: filepath.Join(dir, "srv"), planned: filepath.Join(dir, "plan"),
		eof: make(chan struct{}), grown: make(chan struct{}), exits: make(map[int]chan int),
	}}
	s.plan.Network, s.plan.Addr = or(p.Network, "tcp"), or(p.Addr, "127.0.0.1:0")
	s.plan.PIDFile = or(p.PIDFile, filepath.Join(dir, "pid"))
	if s.plan.Probation == 0 {
		s.plan.Probation = time.Nanosecond
	}
	if p.PullMax == 0 {
		s.plan.PullMax = 200 * time.Millisecond // a test that asks for /ping is a prober, who would be waited for
	}
	s.install()
	s.replan()
	stdout, w := s.pipe()
	stdin, hold := s.pipe()
	log := have(os.Create(s.logFile()))(t)
	cmd := exec.Command(s.binary)
	cmd.Env = append(os.Environ(), planEnv+"="+s.planned, "GORACE=atexit_sleep_ms=0")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, w, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	for _, tweak := range tweaks {
		tweak(s, cmd)
	}
	err := cmd.Start()
	_, _, _ = w.Close(), stdin.Close(), log.Close()
	must(t, err)
	s.pgid = cmd.Process.Pid
	exit := make(chan int, 1)
	s.exits[s.pgid] = exit
	go func() {
		_ = cmd.Wait()
		code := cmd.ProcessState.ExitCode()
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			code = -int(ws.Signal())
		}
		exit <- code
	}()
	go s.read(stdout)
	t.Cleanup(func() {
		defer hold.Close()
		s.cleanup()
	})
	return s
}

// start starts a service and waits until it is ready.
func start(t testing.TB, p plan, tweaks ...func(*service, *exec.Cmd)) *service {
	t.Helper()
	s := begin(t, p, tweaks...)
	s.event(1, "ready")
	return s
}

// parallel makes a test run beside others, if it does not yet.
func parallel(t testing.TB) {
	if t, ok := t.(*testing.T); ok {
		defer func() { _ = recover() }() // it panics where the test has done so
		t.Parallel()
	}
}

// each runs f for each of these, as subtests beside each other.
func each[V any](t *testing.T, all map[string]V, f func(*testing.T, V)) {
	t.Helper()
	parallel(t)
	for name, v := range all {
		t.Run(name, func(t *testing.T) { parallel(t); f(t, v) })
	}
}

// eachOf is each of values that name themselves.
func eachOf[V any](t *testing.T, f func(*testing.T, V), all ...V) {
	t.Helper()
	named := make(map[string]V)
	for _, v := range all {
		named[fmt.Sprint(v)] = v
	}
	each(t, named, f)
}

// must ends the test where something that it needs can't be.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// have is must for what has a result: have(f())(t).
func have[V any](v V, err error) func(testing.TB) V {
	return func(t testing.TB) V { t.Helper(); must(t, err); return v }
}

// in is s for a subtest.
func (s *service) in(t testing.TB) *service { return &service{t, s.world} }

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func (s *service) pipe() (r, w *os.File) {
	r, w, err := os.Pipe()
	must(s, err)
	return r, w
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (s *service) logFile() string { return filepath.Join(s.dir, "log") }

// install puts a whole binary where the service looks for the next, whatever is there.
func (s *service) install() {
	s.Helper()
	self := have(os.Executable())(s)
	s.replace(func(path string) error { return linkOrCopy(self, path) })
}

func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeProgram(to, text, 0o755)
}

// writeProgram writes a file that may be run. A child that has it open for writing, if only for a moment, would make it
// "text file busy".
func writeProgram(path string, text []byte, mode os.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, text, mode)
}

// replace puts what create makes in the place of the binary, by rename.
func (s *service) replace(create func(path string) error) {
	s.Helper()
	next := s.binary + ".new"
	_ = os.Remove(next) // a rename to another name of the same file leaves it
	must(s, create(next))
	if info, err := os.Stat(s.binary); err == nil && info.IsDir() {
		_ = os.Remove(s.binary)
	}
	must(s, os.Rename(next, s.binary))
}

// replan writes the plan for the generations to come.
func (s *service) replan() {
	s.Helper()
	text, err := json.Marshal(s.plan)
	if err == nil {
		err = os.WriteFile(s.planned+".new", text, 0o644)
	}
	if err == nil {
		err = os.Rename(s.planned+".new", s.planned)
	}
	must(s, err)
}

// socketPath is where a unix socket can be that outlives a service.
func socketPath(t testing.TB) string { t.Helper(); return filepath.Join(shortDir(t), "s") }

// gate makes a FIFO that something can wait at until open is called.
func (s *service) gate(name string) (path string, open func()) {
	s.Helper()
	path = filepath.Join(s.dir, name)
	_ = os.Remove(path)                  // of a swap before
	must(s, syscall.Mkfifo(path, 0o644)) // for a service of another user
	return path, s.opener(path)
}

// atGate makes a service wait at a gate of its own when it comes to the step.
func atGate(step string) func(*service, *exec.Cmd) {
	return func(s *service, _ *exec.Cmd) {
		s.plan.Fault = step
		s.plan.Gate, _ = s.gate(strings.ReplaceAll(step, " ", "-"))
		s.replan()
	}
}

func (s *service) opener(path string) func() {
	return func() {
		s.Helper()
		opened := make(chan error, 1)
		go func() {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				err = f.Close()
			}
			opened <- err
		}()
		select {
		case err := <-opened:
			must(s, err)
		case <-time.After(hung):
			s.Fatalf("nobody is at the gate %s", path)
		}
	}
}

func (s *service) cleanup() {
	_ = syscall.Kill(-s.pgid, syscall.SIGKILL)
	for _, pid := range living(s.pgid) { // a candidate has a process group of its own
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	s.gone()
	log, _ := os.ReadFile(s.logFile())
	if strings.Contains(string(log), "DATA RACE") {
		s.Error("a generation has a data race")
	}
	if s.Failed() {
		for _, r := range s.since(0) {
			s.Log(r)
		}
		s.Logf("log:\n%s", log)
	}
	_ = os.RemoveAll(s.dir)
}

// dice falls the same in each run. BATON_SEED, a number, makes it fall otherwise.
func dice(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(1)
	if text := os.Getenv("BATON_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("BATON_SEED: %v; want a number", err)
		}
	}
	t.Logf("BATON_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// notAtOnce keeps two signals apart: a pull, and a swap or a restore, in the same instant have no order, and
// the pull holds.
func notAtOnce() { <-time.After(50 * time.Millisecond) }
