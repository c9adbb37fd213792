//go:build unix

package drain_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"strings"
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
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue { // these tests wait more than they compute
		_ = f.Value.Set(fmt.Sprint(2 * runtime.GOMAXPROCS(0)))
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
	PullMin        time.Duration
	PullMax        time.Duration
	MaxGenerations int
	KeepPull       bool
	ChangeDir      string
	Keeper         bool
	Worker         bool     // runs background work
	Jobs           string   // where its handlers' work leaves its marks, see jobs_unix_test.go
	Leads          []string // what it leads, see lead_unix_test.go
	LeadTail       time.Duration
	UDP            bool        // answers datagrams too
	Datagrams      [][2]string // where it answers datagrams besides
	Lines          bool        // serves lines too, on connections that are handed over, see lineServer
	Polite         bool        // has a politeServer too
	Wrap           string      // what its listener is wrapped in, see wrap
	Again          [][3]string // addresses where its server serves too; files of a certificate and a key, or ""
	OnShutdown     bool        // its server has a function to call, see onShutdown
	Fault          string      // what goes wrong, see the uses of gen.fault
	Callback       string      // what OnEvent or the logger does, see gen.callback
	Gate           string      // a FIFO that the step named by Fault waits for
	Speaks         [2]int      // see drain.Speak; none if 0
	Forgiving      bool        // takes two signals to stop in one instant for one, as programs do; the others leave now
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
	slog.SetDefault(slog.New(logger{slog.NewTextHandler(os.Stderr, nil), g}))
	exe, _ := os.Readlink("/proc/self/exe")
	g.note("begun %s", exe)
	if err = g.run(); err != nil {
		g.note("error %v", err)
		os.Exit(1)
	}
	g.note("exit 0")
	os.Exit(0)
}

// logger turns what is no event, but worth waiting for, into notes.
type logger struct {
	slog.Handler
	gen *gen
}

func (l logger) Handle(ctx context.Context, r slog.Record) error {
	switch r.Message {
	case "signal", "swap refused", "next generation is ready":
		r.Attrs(func(a slog.Attr) bool { l.gen.note("%s: %s", r.Message, a.Value); return false })
	}
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

func (g *gen) run() error {
	if g.fault("crash at start") {
		os.Exit(3)
	}
	if g.fault("hang at start") {
		<-time.After(time.Hour)
	}
	g.fault("before New")
	if g.Speaks[0] > 0 {
		drain.Speak(g.Speaks[0], g.Speaks[1])
	}
	if !g.Forgiving {
		drain.SameWish(0)
	}
	if pid := os.Getenv("LISTEN_PID"); pid != "" {
		g.note("LISTEN_PID %s WATCHDOG_PID %s", pid, os.Getenv("WATCHDOG_PID"))
	}
	if g.fault("no binary") {
		_ = os.Remove(os.Args[0])
	}
	if g.Fault == "forgets its start" {
		if err := g.forgetStart(); err != nil {
			return err
		}
	}
	g.spoilEnvironment()
	if g.ChangeDir != "" {
		if err := os.Chdir(g.ChangeDir); err != nil {
			return err
		}
	}
	if g.Fault == "ListenAndServe" && g.Cert != "" {
		return drain.ListenAndServeTLS(g.Addr, g.Cert, g.Key, g.handler())
	}
	if g.Fault == "ListenAndServe" {
		return drain.ListenAndServe(g.Addr, g.handler())
	}
	cfg := drain.Config{
		PIDFile: g.PIDFile, ControlSocket: g.Control, Probation: g.Probation, SwapTimeout: g.SwapTimeout, DrainTimeout: g.DrainTimeout,
		IdleGrace: cmp.Or(g.IdleGrace, time.Second), PullMin: g.PullMin, PullMax: g.PullMax, MaxGenerations: g.MaxGenerations, KeepPull: g.KeepPull,
		PingPath: g.PingPath, LivePath: g.LivePath, PingStatus: g.PingStatus, Probers: g.Probers,
		Keeper: g.Keeper, HeartbeatAddress: g.Heartbeat, AgentAddress: g.Agent,
		Ready: g.ready, Check: g.check, Preflight: g.preflight, OnEvent: g.event,
		Join: g.join, Gone: g.gone,
		Leave: func(context.Context) error {
			g.note("leave")
			g.fail("Leave")
			g.fault("slow leave")
			g.note("left")
			return nil
		},
	}
	if g.Lines {
		g.line = newLineServer(g)
		cfg.Adopt = g.line.adopt
		if g.Fault == "no Adopt" {
			cfg.Adopt = nil
		}
	}
	if g.Fault == "no signals" {
		cfg.Signals = new(drain.Signals)
	}
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	g.svc = svc
	g.known.Store(svc)
	g.n.Store(int32(svc.Status().Generation))
	if g.Extra != "" {
		if _, err := svc.Listen("tcp", g.Extra); err != nil {
			return err
		}
	}
	ln, err := svc.Listen(g.Network, g.Addr)
	if err != nil {
		return err
	}
	g.ln = ln
	g.note("listening %s", ln.Addr())
	srv := &http.Server{Handler: g.handler(), ReadHeaderTimeout: g.HeaderTimeout}
	if g.fault("HTTP/2 of its own") {
		srv.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": func(*http.Server, *tls.Conn, http.Handler) {}}
	}
	if g.OnShutdown {
		srv.RegisterOnShutdown(g.onShutdown)
	}
	ln = g.wrap(ln)
	if g.Cert == "" || g.shakes() {
		svc.Serve(ln, srv)
	} else if err := g.serveTLS(svc, ln, srv); err != nil {
		return err
	}
	if err := g.serveAgain(srv); err != nil {
		return err
	}
	for _, also := range g.Also {
		ln, err := svc.Listen(also[0], also[1])
		if err != nil {
			return err
		}
		g.note("also on %s %s: %s", also[0], also[1], ln.Addr())
		svc.Serve(ln, &http.Server{Handler: g.handler()})
	}
	if g.UDP {
		g.Datagrams = append(g.Datagrams, [2]string{"udp", "127.0.0.1:0"})
	}
	for _, at := range g.Datagrams {
		pc, err := svc.ListenPacket(at[0], at[1])
		if err != nil {
			return err
		}
		g.note("datagrams %s", pc.LocalAddr())
		if err := svc.Go("datagrams", func(context.Context) { g.datagrams(pc) }); err != nil {
			return err
		}
	}
	if g.Lines {
		if err := g.line.listen(); err != nil {
			return err
		}
	}
	if g.Polite {
		if err := g.servePolite(); err != nil {
			return err
		}
	}
	if g.Worker {
		if err := svc.Go("worker", g.work); err != nil {
			return err
		}
	}
	if err := errors.Join(g.beginJobs(), g.lead()); err != nil {
		return err
	}
	g.fault("before Run")
	return svc.Run(context.Background())
}

func (g *gen) ready(ctx context.Context) error {
	if g.fault("ready fails") {
		return errors.New("the cache is cold")
	}
	if g.fault("hang in Ready") {
		<-ctx.Done()
		return ctx.Err()
	}
	if g.fault("listens in Ready") {
		ln, err := g.svc.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		g.note("in Ready on %s", ln.Addr())
		g.svc.Serve(ln, &http.Server{Handler: g.handler()})
	}
	g.fail("Ready")
	g.fault("in Ready")
	return nil
}

func (g *gen) check(_ context.Context, client *http.Client) error {
	url := "http://any/echo"
	if g.shakes() {
		return nil // the client doesn't know that the listener speaks TLS
	}
	if g.Cert != "" {
		url = "https://test/echo"
	}
	resp, err := client.Post(url, "text/plain", strings.NewReader("self"))
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	switch {
	case g.fault("check fails"):
		return errors.New("the database is away")
	case g.fault("crash in probation"):
		os.Exit(3)
	case g.fault("panic in probation"):
		panic("a bug of the new version")
	case g.fault("few descriptors"):
		if err := g.starve("6"); err != nil {
			panic(err)
		}
	}
	g.fail("Check")
	return g.checkPolite()
}

// preflight is asked of the old generation about the next one's plan.
func (g *gen) preflight(ctx context.Context, _ string) error {
	p, err := readPlan(g.path)
	switch {
	case err != nil: // out of descriptors
	case p.Fault == "preflight fails":
		return errors.New("the new binary says no")
	case p.Fault == "hang in Preflight":
		g.note("preflight hangs")
		<-ctx.Done()
		return ctx.Err()
	case p.Fault == "deaf in Preflight":
		g.note("preflight hangs")
		select {}
	case p.Fault == "panic in Preflight":
		panic("a bug in the hook")
	case p.Fault == "Goexit in Preflight":
		runtime.Goexit()
	}
	return nil
}

func (g *gen) work(ctx context.Context) {
	g.note("work begun")
	<-ctx.Done()
	g.note("work told to end")
	g.fail("Go")
	g.fault("slow work")
	g.note("work ended")
}

// event runs on a goroutine of its own, and so does what it begins.
func (g *gen) event(e drain.Event) {
	g.n.Store(int32(e.Generation))
	r := record{Gen: e.Generation, PID: e.PID, Phase: e.Phase, Msg: e.Message, Open: e.Open, At: e.Time.UnixNano()}
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
	record{Gen: int(g.n.Load()), PID: os.Getpid(), Note: fmt.Sprintf(format, args...), At: time.Now().UnixNano()}.print()
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
