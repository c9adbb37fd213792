//go:build unix

package drain_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain"
)

func (g *gen) run() error {
	if g.fault("crash at start") {
		os.Exit(3)
	}
	if g.fault("hang at start") {
		<-time.After(time.Hour)
	}
	g.fault("before New")
	g.grow()
	g.die(beforeNew)
	if g.Fault == "Services before" {
		if err := serveOften(); err != nil {
			return err
		}
	}
	if g.Speaks[0] > 0 {
		drain.Speak(g.Speaks[0], g.Speaks[1])
	}
	if g.SayAgain > 0 {
		drain.Impatient(g.SayAgain)
	}
	drain.SameWish(g.SameWish)
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
	if err := g.beforeNew(); err != nil {
		return err
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
	svc, err := drain.New(g.config())
	if err != nil {
		return err
	}
	g.svc = svc
	g.known.Store(svc)
	g.n.Store(int32(svc.Status().Generation))
	for _, step := range []func() error{
		g.serve, g.serveAlso, g.answerDatagrams, g.serveLines, g.servePolite, g.beginWork, g.beginJobs, g.lead, g.own,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if g.fault("reopens") {
		if err := errors.Join(g.closeAlso(), g.serveAlso(), g.answerDatagrams()); err != nil {
			return err
		}
	}
	g.fault("before Run")
	g.die(beforeRun)
	err = svc.Run(context.Background())
	if err == nil && g.Fault == "Services after" {
		err = serveOften()
	}
	return err
}

// beforeNew does what a program should do after New, and may do before.
func (g *gen) beforeNew() error {
	switch g.Fault {
	case "handles signals before New":
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGUSR1)
	case "ignores HUP before New":
		signal.Ignore(syscall.SIGHUP)
	case "works before New":
		ln, err := net.Listen("unix", "@"+g.path) // which nobody else can have
		if err != nil {
			return err
		}
		go func() {
			for ; ; time.Sleep(50 * time.Millisecond) {
				g.note("works on %s", ln.Addr())
			}
		}()
	default:
		return nil
	}
	g.note("at New")
	return os.Chdir("/")
}

const mib = 1 << 20

// grow takes memory, which the race detector does not make more.
//
//go:norace
func (g *gen) grow() {
	for range g.Weight {
		b, _ := syscall.Mmap(-1, 0, mib, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		for i := 0; i < len(b); i += os.Getpagesize() {
			b[i] = 1
		}
	}
}

func (g *gen) config() drain.Config {
	cfg := drain.Config{
		PIDFile: g.PIDFile, ControlSocket: g.Control, Probation: g.Probation, SwapTimeout: g.SwapTimeout,
		PauseMax: g.PauseMax, DrainTimeout: g.DrainTimeout,
		IdleGrace: cmp.Or(g.IdleGrace, time.Second), SessionSpread: g.SessionSpread, KeepTLS: g.KeepTLS,
		PullMin: g.PullMin, PullMax: g.PullMax, MaxGenerations: g.MaxGenerations, KeepPull: g.KeepPull,
		Version: g.Version, PingPath: g.PingPath, LivePath: g.LivePath, PingStatus: g.PingStatus, Probers: g.Probers,
		HeartbeatAddress: g.Heartbeat, AgentAddress: g.Agent,
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
	if g.Keeper {
		cfg.Keeper = drain.KeeperAlways
	}
	if g.Lines {
		g.line = newLineServer(g)
		cfg.Adopt = g.line.adopt
		if g.Fault == "no Adopt" {
			cfg.Adopt = nil
		}
	}
	if g.Sick != "" {
		cfg.Healthy = func(context.Context) error {
			if text, err := os.ReadFile(g.Sick); err == nil {
				return errors.New(string(text))
			}
			return nil
		}
	}
	if g.Fault == "no signals" {
		cfg.Signals = new(drain.Signals)
	}
	return cfg
}

// serve is the server that all tests ask, with the other places where it serves.
func (g *gen) serve() error {
	if g.Extra != "" {
		if _, err := g.svc.Listen("tcp", g.Extra); err != nil {
			return err
		}
	}
	ln, err := g.svc.ListenWith(g.listenConfig(), g.Network, g.Addr)
	if err != nil {
		return err
	}
	g.ln = ln
	g.note("listening %s", ln.Addr())
	srv := &http.Server{Handler: g.handler(), ReadHeaderTimeout: g.HeaderTimeout, ConnContext: withConn}
	if g.fault("HTTP/2 of its own") {
		srv.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
			"h2": func(*http.Server, *tls.Conn, http.Handler) {},
		}
	}
	if g.OnShutdown {
		srv.RegisterOnShutdown(g.onShutdown)
	}
	ln = g.wrap(ln)
	if g.By != "" {
		g.serveBy(ln, srv)
	} else if g.Cert == "" || g.shakes() {
		g.svc.Serve(ln, srv)
	} else if err := g.serveTLS(ln, srv); err != nil {
		return err
	}
	return g.serveAgain(srv)
}

// closeAlso closes what serveAlso and answerDatagrams have opened.
func (g *gen) closeAlso() (err error) {
	for _, end := range g.also {
		err = errors.Join(err, end())
	}
	g.also = nil
	return err
}

// serveAlso is further servers.
func (g *gen) serveAlso() error {
	for _, also := range g.Also {
		ln, err := g.svc.Listen(also[0], also[1])
		if err != nil {
			return err
		}
		g.note("also on %s %s: %s", also[0], also[1], ln.Addr())
		srv := &http.Server{Handler: g.handler()}
		g.svc.Serve(ln, srv)
		g.also = append(g.also, func() error { return errors.Join(srv.Shutdown(context.Background()), ln.Close()) })
	}
	return nil
}

func (g *gen) answerDatagrams() error {
	if g.UDP {
		g.Datagrams = append(g.Datagrams, [2]string{"udp", "127.0.0.1:0"})
	}
	for _, at := range g.Datagrams {
		pc, err := g.svc.ListenPacket(at[0], at[1])
		if err == nil {
			g.note("datagrams %s", pc.LocalAddr())
			g.also = append(g.also, pc.Close)
			err = g.svc.Go("datagrams", func(context.Context) { g.datagrams(pc) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *gen) beginWork() error {
	if !g.Worker {
		return nil
	}
	return g.svc.Go("worker", g.work)
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
