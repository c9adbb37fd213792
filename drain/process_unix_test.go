//go:build unix

package drain_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/listener"
)

// planEnv names the file that says what the test binary does when it runs as a service.
const planEnv = "BATON_TEST_PLAN"

func TestMain(m *testing.M) {
	if path := os.Getenv(planEnv); path != "" {
		serviceMain(path)
	}
	if path := os.Getenv(strangerEnv); path != "" {
		strangerMain(path)
	}
	if os.Getenv(errorsEnv) != "" {
		errorsMain(os.Args[1], os.Args[2])
	}
	for _, sig := range []os.Signal{syscall.SIGHUP, os.Interrupt} {
		if signal.Ignored(sig) { // by nohup, or a shell's "&": or the services would inherit that
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	becomeSubreaper()
	flag.Parse()
	// These tests wait more than they compute, but for fuzzers.
	fuzzes := flag.Lookup("test.fuzz").Value.String() != ""
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue && !fuzzes {
		_ = f.Value.Set(fmt.Sprint(5 * runtime.GOMAXPROCS(0)))
	}
	os.Exit(m.Run())
}

// plan is what a generation does. Each reads it anew when it starts, so that a test can change it for the next one.
type plan struct {
	Network, Addr  string
	Extra          string      // another TCP address
	Also           [][2]string // networks and addresses of further servers
	Cert, Key      string      // files; "": no TLS
	PIDFile        string
	Control        string
	Heartbeat      string
	Agent          string
	Probation      time.Duration
	SwapTimeout    time.Duration
	DrainTimeout   time.Duration
	HeaderTimeout  time.Duration
	IdleGrace      time.Duration
	SessionSpread  time.Duration
	KeepTLS        bool
	PullMin        time.Duration
	PullMax        time.Duration
	MaxGenerations int
	KeepPull       bool
	ChangeDir      string
	Keeper         bool
	Weight         int      // MiB that it holds, see grow
	Worker         bool     // runs background work
	Jobs           string   // where its handlers' work leaves its marks, see jobs_unix_test.go
	Leads          []string // what it leads, see lead_unix_test.go
	LeadTail       time.Duration
	Owns           []string // its owners, see own_unix_test.go
	PauseMax       time.Duration
	UDP            bool          // answers datagrams too
	KeepAlive      time.Duration // of its ListenConfig, as the next
	Keep           net.KeepAliveConfig
	Shares         bool          // its ListenConfig has a Control that sets SO_REUSEPORT
	Datagrams      [][2]string   // where it answers datagrams besides
	Lines          bool          // serves lines too, on connections that are handed over, see lineServer
	Polite         bool          // has a politeServer too
	Wrap           string        // what its listener is wrapped in, see wrap
	Again          [][3]string   // addresses where its server serves too; files of a certificate and a key, or ""
	By             string        // its server is served by: "" is Serve
	OnShutdown     bool          // its server has a function to call, see onShutdown
	Fault          string        // what goes wrong, see the uses of gen.fault
	Callback       string        // what OnEvent or the logger does, see gen.callback
	Last           string        // its last words, see beforeNew
	Log            string        // text or json, as an operator has it; "": text, with each step
	Version        string        // what Config.Version is
	Gate           string        // a FIFO that the step named by Fault waits for
	Speaks         [2]int        // see drain.Speak; none if 0
	SameWish       time.Duration // within it a second signal to stop says the same; as programs have it: 100 ms
	SayAgain       time.Duration // how often it says what it waits for
	Mount          string        // where its handler has Service.Health
	Sick           string        // a file: while it is there, the service is not healthy, as it says
	PingPath       string
	LivePath       string
	PingStatus     int
	Probers        []netip.Prefix
}

// record is one line of what a generation prints: an event of the library, or a note of the service itself.
type record struct {
	Gen   int
	PID   int
	Phase drain.Phase
	Kind  drain.EventKind
	Msg   string
	Err   string
	Note  string
	Open  listener.Counts
	At    int64 // when it happened, in ns
}

// gen is a generation, from its own point of view.
type gen struct {
	plan
	path string
	svc  *drain.Service
	ln   net.Listener
	n    atomic.Int32
	line *lineServer
	jobs chan string
	over chan struct{} // closed by onShutdown
	owns map[string]*ledger
	also []func() error // see closeAlso

	known atomic.Pointer[drain.Service] // svc, for who may ask while New returns

	polite net.Listener // of a politeServer

	mu    sync.Mutex // guards what follows
	hogs  []*os.File
	limit syscall.Rlimit // when they are gone
}

func serviceMain(path string) {
	stdin := os.Stdin
	go func() { // the test holds the other end, and may die
		if _, err := io.Copy(io.Discard, stdin); err == nil { // a keeper may not read from its terminal
			os.Exit(9)
		}
	}()
	g := &gen{path: path, over: make(chan struct{})}
	var err error
	if g.plan, err = readPlan(path); err != nil {
		panic(err)
	}
	var lines slog.Handler = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})
	switch g.Log {
	case "text":
		lines = slog.NewTextHandler(os.Stderr, nil)
	case "json":
		lines = slog.NewJSONHandler(os.Stderr, nil)
	}
	slog.SetDefault(slog.New(logger{lines, g}))
	exe, _ := os.Readlink("/proc/self/exe")
	g.note("begun %s", exe)
	if err = g.run(); err != nil {
		g.note("error %v", err)
		os.Exit(1)
	}
	if g.Fault == "deaf after Run" {
		signal.Ignore(syscall.SIGTERM)
	}
	_ = g.fault("after Run") || g.fault("deaf after Run")
	g.note("exit 0")
	os.Exit(0)
}

// logger turns what is no event, but worth waiting for, into notes.
type logger struct {
	slog.Handler
	gen *gen
}

func (l logger) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key == "signal":
			l.gen.note("signal: %s", a.Value)
		case r.Message == "swap refused" && a.Key == "why", r.Message == "next generation is ready" && a.Key == "to":
			l.gen.note("%s: %s", r.Message, a.Value)
		}
		return true
	})
	l.callback(r)
	return l.Handler.Handle(ctx, r)
}

func readPlan(path string) (p plan, err error) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	return p, err
}

// fault reports whether it is the one asked for, when its gate, if there is one, has been opened.
func (g *gen) fault(name string) bool {
	if g.Fault == name && g.Gate != "" {
		g.note("at the gate")
		waitGate(g.Gate)
	}
	return g.Fault == name
}

// waitGate waits until the gate has been opened and is closed again, so that it lets nobody else pass.
func waitGate(fifo string) {
	if f, err := os.Open(fifo); err == nil {
		_, _ = io.Copy(io.Discard, f)
		_ = f.Close()
	}
}

// event runs on a goroutine of its own, and so does what it begins.
func (g *gen) event(e drain.Event) {
	g.n.Store(int32(e.Generation))
	r := record{Gen: e.Generation, PID: e.PID, Phase: e.Phase, Kind: e.Kind, Msg: e.Message, Open: e.Open,
		At: e.Time.UnixNano()}
	if e.Message == "swapped" { // as the version before calls it
		r.Msg = "stopped"
	}
	if e.Err != nil {
		r.Err = e.Err.Error()
	}
	r.print()
	if e.Message == "swap failed" || e.Message == "older generation is gone" {
		g.feed()
	}
	g.callback("OnEvent", e.Message)
}

// feed ends what starve has begun.
func (g *gen) feed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hogs != nil {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &g.limit)
	}
	for _, f := range g.hogs {
		_ = f.Close()
	}
	g.hogs = nil
}

func (g *gen) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	record{Gen: int(g.n.Load()), PID: os.Getpid(), Note: text, At: time.Now().UnixNano()}.print()
}

func (r record) String() string {
	if r.Note != "" {
		return fmt.Sprintf("%d/%d: %s", r.Gen, r.PID, r.Note)
	}
	return fmt.Sprintf("%d/%d %s: %s %s; %+v", r.Gen, r.PID, r.Phase, r.Msg, r.Err, r.Open)
}

// stdout is where the test listens, whatever the program makes of os.Stdout.
var stdout = os.Stdout

func (r record) print() {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	_, _ = stdout.Write(append(line, '\n')) // in one piece: several generations write
}
