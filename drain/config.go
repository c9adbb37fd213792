package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/baton-go/baton/drain/internal/later"
	"github.com/baton-go/baton/drain/internal/probeport"
)

// Config is what a Service can be told. The zero value works. New refuses negative durations and numbers.
//
// The fields stand by what they are about:
//
//   - files and ports: PIDFile, ControlSocket, HeartbeatAddress, AgentAddress
//   - the process, and what it says: Signals, Keeper, Logger, OnEvent
//   - a generation comes up: Ready, Probation, Check
//   - a swap, in the old generation: Preflight, SwapTimeout, PauseMax, MaxGenerations
//   - a drain, and what goes to the next generation: DrainTimeout, IdleGrace, SessionSpread, KeepTLS, Adopt
//   - connections of a service that stays: MaxConnectionAge
//   - probes and pulls: PingPath, LivePath, PingStatus, Healthy, Failures, Probers, PullMin, PullMax, KeepPull
//   - a registry: Join, Leave, Gone
type Config struct {
	// Files, and ports for balancers that do not speak HTTP.

	// PIDFile holds the pid of the main generation, in decimal with a newline, mode 0644. It is
	// replaced by rename when the service becomes ready or is promoted, and removed at the end.
	// A small regular file that is there before is replaced, unless it names a living service, which
	// holds a lock on it. A swap fails when its folder can't be written. A relative path is in the
	// folder in which the process was started; so are all paths here and those of unix sockets.
	// Default: none.
	PIDFile string

	// ControlSocket is the path of a unix socket on which the main generation answers the commands
	// of Control, which also says what HTTP it speaks. Its mode is 0600, and processes of another
	// user get nothing, but root's. It moves along with a swap and is removed at the end; one that
	// a dead process has left is replaced. The folder must belong to this user or root. No other user
	// may write to it, and not everybody to a folder above it, unless that folder has the sticky bit,
	// as /tmp has. Each generation refuses another place. Unix only. Default: none.
	ControlSocket string

	// HeartbeatAddress is a port ("host:port") for balancers that only connect: LVS, and others of
	// TCP. It is open while the service is ready and closed while it is pulled. See
	// health.Heartbeat, which says what counts as noticed. A handshake that is half done when the
	// old generation closes its port, in a swap, is reset. So a balancer should want two failures
	// at least before it takes a node out. Default: none.
	HeartbeatAddress string

	// AgentAddress is a port for HAProxy's agent-check: "up ready", "drain" while pulled, "down"
	// while the service drains for a stop; see health.State.ServeAgent. Default: none.
	//
	// Each generation opens both ports before it takes over. The old one closes its own after that. Like
	// the control socket they are no listeners of the service, and their connections are not counted.
	AgentAddress string

	// The process, and what it says.

	// Signals are what the service reacts to. Default: HUP swaps, USR2 pulls, USR1 restores, TERM
	// and INT stop; on Windows os.Interrupt stops. New(Config{Signals: &Signals{}}) reacts to none.
	// The kernel keeps no order between signals that come within a few milliseconds: a pull wins
	// over a swap or a restore that comes with it, a stop over all. A second signal to stop cuts
	// off what is open and ends the process now. One that comes within 100ms of the first says the
	// same as the first: timeout(1), and wrappers that forward a Ctrl-C, send two.
	//
	// A stop by os.Interrupt, a person's Ctrl-C, does not wait for probers that have come only once. A stop by another
	// signal waits some seconds for them, since a balancer may have just begun. So a supervisor should send TERM.
	Signals *Signals

	// Keeper says whether a keeper stays in front: the process that was started, whose pid and exit code
	// its parent waits for. After a swap the main process is another one, and a shell, supervisord, runit,
	// s6, tini, docker or a unit of Type=simple would believe that the service has ended. New replaces the
	// program with the keeper, by exec: nothing of the program lives on there, deferred calls do not run,
	// and what Go has opened is closed. Generation 1 does once more what main does before New, so call New
	// first. The init functions that run before this package's run in the keeper, too. The keeper logs
	// little, on standard error: in JSON if the Logger's handler is a slog.JSONHandler, else as text,
	// from the Logger's level on.
	//
	// The keeper starts the same binary, with the same arguments, environment and descriptors, as
	// generation 1. It forwards signals to the main generation, and reaps orphans. It exits after the
	// last generation with the exit code of the last main one, 128+n for signal n. Before Linux 6.15
	// that is 1 if the main one crashed while an older one drained.
	//
	// Signals may go to the keeper, to the main generation (whose pid the PID file has), or to both: one
	// that comes to both within 2s counts once. All are in the process group that the first was started in.
	// With NOTIFY_SOCKET, the manager is told all but MAINPID; the variable is not in the environment of
	// the program, nor of what that starts. After a SIGKILL of the keeper the service stops as by
	// SIGTERM: the next keeper needs its addresses. Default KeeperAuto.
	Keeper KeeperMode

	// Logger gets a line for each event, and others, in order, on a goroutine of its own: the time of a record is when
	// it happened. A handler may block, and call any method of the Service. Up to 1024 lines and 1 MiB wait for it.
	// More are dropped, counted in Totals.LogDropped, and a line in their place says how many. A panic of the handler
	// counts as a line that it could not write. Run and ListenAndServe wait up to 1s for the last lines at the end; an
	// os.Exit elsewhere may lose them. Default: what slog.Default() is in New.
	//
	// A closed pipe at standard output or error, where the log's reader has gone, does not end the process: New takes
	// SIGPIPE. Writes return EPIPE.
	Logger *slog.Logger

	// Version is what Status, its line in systemctl status, and the log of a swap call this build. Default: what the
	// toolchain has stamped on the binary, the version of the main module or the revision; none where it has stamped
	// nothing.
	Version string

	// OnEvent is called for each change of phase and each failed swap, in order, on a goroutine of
	// its own. It may block, which holds up later events and nothing else, and call any method of
	// the Service. The service goes on meanwhile, so Event tells how it was, Status how it is. The
	// first call comes after New has returned, when Listen, ListenPacket or Run is called. Before
	// Run returns, OnEvent has returned from all calls; Run waits 1s for that. Default: none.
	OnEvent func(Event)

	// A generation comes up.

	// Ready is waited for before the service becomes ready, and in a new generation before its
	// probation. An error makes Run return it. runtime.Goexit, as t.FailNow calls it, counts as an
	// error, in Check too. Ctx ends with the service.
	Ready func(ctx context.Context) error

	// Probation is how long a new generation runs, checking itself, before it takes over. It
	// accepts nothing from outside meanwhile: the old one does, so a new one that fails costs no
	// request. Default 1s; for less, set less, for none 1ns: one self-check always is.
	Probation time.Duration

	// Check is asked by a new generation before it takes over, besides its own check, which is that
	// /ping of each server answers 200. The client reaches the service's own listeners whatever the
	// host in the URL is: the first one, or the one whose address is the host. It speaks TLS to
	// those of ServeTLS and trusts their certificates; "https" reaches only these.
	Check func(ctx context.Context, client *http.Client) error

	// A swap, in the old generation.

	// Preflight is asked by the old generation before it starts the new one, with the path of the binary; it may run
	// "binary -t". An error, a panic, or the end of ctx, makes the swap fail.
	Preflight func(ctx context.Context, binary string) error

	// SwapTimeout bounds a swap, from the start of the new process until it takes over. Then it is asked to leave, and
	// killed 5s later. Default 1m.
	SwapTimeout time.Duration

	// MaxGenerations is how many processes of the service may live at once. A swap that would make
	// them more waits until the oldest has left. The oldest is told to leave within 5s, whatever its
	// DrainTimeout and IdleGrace; what is left then is cut off, and its Run returns an error.
	// Where the oldest has returned from Run, but not from main, it gets SIGTERM, and SIGKILL 5s later.
	//
	// A service may wait long for what can't be handed over, such as WebSockets. Then allow for as many
	// swaps as may come in one DrainTimeout. Each old generation costs its memory, and no more than
	// that while it is idle. Status.Older says what is left where. Default 4, at least 2.
	MaxGenerations int

	// PauseMax bounds each of three steps of a swap of a service with owners (Own): the handlers end, and what Lead
	// runs does; all owners release; all acquire. New requests wait meanwhile. A step that takes longer makes the swap
	// fail, and nothing is lost: the owners acquire again, for which each has DrainTimeout where that is longer. A
	// handler that has run for longer already is waited for before the pause, that long again. Default 5s.
	PauseMax time.Duration

	// A drain, and what goes to the next generation.

	// DrainTimeout bounds draining: what is still open then is cut off, Run returns an error that
	// says what, and so the exit code is not 0. Each generation has its own, from its own draining,
	// as its configuration was when it started. In a stop that also counts for older generations
	// that still drain, which are told to leave then. What [Service.Go] runs has another second to
	// return. Default 30s.
	DrainTimeout time.Duration

	// IdleGrace is how long a connection that can't be handed over may rest, while draining, before
	// it is closed. An HTTP/2 client also has IdleGrace to answer a PING. If its host has received the PING and the
	// client is merely busy, it has five times as long, up to 5s. IdleGrace should be longer than the time for which
	// the balancer keeps idle connections, and shorter than DrainTimeout.
	//
	// After three quarters of DrainTimeout, IdleGrace is at most one eighth of it, so that idle connections close
	// cleanly. Where DrainTimeout is less than 8s, that begins 2s before its end, but not before half of it is over.
	//
	// The default in a swap is 5s. A client may pause for a second when its machine is busy, or for up to 3s when its
	// first packet is lost and sent again (RFC 6298). Both keep their connections.
	// The default in a stop is 1s, since an operator waits for its end. Either is half of
	// DrainTimeout if that is less.
	IdleGrace time.Duration

	// SessionSpread is the time over which a swap tells the sessions of the old generation to leave, each at a random
	// moment: it ends the contexts of Draining. A long one spares the service a crowd that reconnects at once. A short
	// one keeps a hub in the process whole: what is published in the new generation does not reach the sessions that
	// are still in the old one. With time.Nanosecond all are told at once. Half of DrainTimeout is the most. A stop,
	// which has no new generation, tells them within IdleGrace.
	//
	// The default is 500µs for each session, and IdleGrace at most: 100 are told within 50ms, 1,000 within 500ms.
	SessionSpread time.Duration

	// KeepTLS forbids that connections over TLS are handed over, as ServeTLS says: this generation neither gives nor
	// takes any, and they end after IdleGrace. It is for a version that is stricter with its clients than the one
	// before. The least version and the suites of TLS need no KeepTLS: they are checked in any case.
	KeepTLS bool

	// Adopt is called, once the service has taken over, with each connection that the old
	// generation gives to HandOver, and with its state. Nil means that conn is the application's,
	// as if it had been accepted or hijacked here: it is counted, waited for, and can be handed
	// over again. An error, or a panic, gives it back to the old generation, which serves on with
	// it; conn is closed then, without its client noticing. So an application refuses state that it
	// doesn't understand.
	//
	// Each call has a goroutine of its own. It should return soon, having started what serves conn:
	// Read and HandOver of conn wait until it has returned and the old generation knows, and so
	// does a further swap. The old generation waits for 5 s, see HandOver; if that was too short,
	// conn is closed here, without its client noticing. So conn is not to be written to before the
	// first Read. Default: none, every HandOver is refused.
	Adopt func(conn net.Conn, state []byte) error

	// Connections of a service that stays.

	// MaxConnectionAge is for clients that keep their connections for days through a balancer that chooses a node
	// once for each connection: LVS, NLB, a Service of Kubernetes. Such clients have left a node that was away, and
	// do not come back to it. From that age on, the next answer of HTTP/1.1 says "Connection: close", and HTTP/2
	// gets a GOAWAY, behind which its streams end in their time. Nothing is cut, and a connection at rest stays until
	// it is used again. Hijacked connections have no age, and gRPC's own server has keepalive.ServerParameters.
	//
	// Each connection has a jitter of ±10 %, as in gRPC. One that a swap hands over keeps its age. Each new connection
	// costs a handshake: some minutes are often enough. See listener.Config.MaxAge. Default: for ever.
	MaxConnectionAge time.Duration

	// Probes and pulls.

	// PingPath and LivePath are answered before the handlers of each server, where the method is GET, HEAD or
	// OPTIONS, which probes use. A request of another method is the program's. The two can't be the same. Defaults
	// /ping and /livez; "-" for none.
	PingPath, LivePath string

	// PingStatus is what /ping answers while pulled. Default 501.
	PingStatus int

	// Healthy is what readiness is to the program, beside pulls: the database answers, caches are warm. While it
	// returns an error, PingPath answers PingStatus, or 503 where that is the default, with the beginning of the error,
	// AgentAddress says "down", and all else is served. The balancer takes the node out, and later in again. Healthy
	// is called when a probe comes, one call at a time and at most ten a second, and has 1s; a panic counts as an
	// error. It is not called while pulled: a pull is noticed as without it. A new generation that is not healthy does
	// not take over: what takes its time belongs in Ready. LivePath and HeartbeatAddress do not ask it. Default: none.
	Healthy func(ctx context.Context) error

	// Failures is how many failing answers take a node out in the balancer's configuration. Default 3.
	Failures int

	// Probers are the networks that the balancers' probes come from. Probes from elsewhere are
	// answered, but do not count. So no outsider can hold up a stop by asking for /ping.
	// See health.Config. Default: a host that asks in a rhythm is a prober.
	Probers []netip.Prefix

	// PullMin and PullMax bound the time from a pull until it counts as noticed by the balancers, and so the lame duck
	// phase of a stop. Defaults 0 and 30s.
	PullMin, PullMax time.Duration

	// KeepPull makes a new generation start pulled when the old one was. By default a swap ends the pull.
	KeepPull bool

	// A registry.

	// Join is called when the service becomes ready other than by a swap, and after a restore.
	// Leave is called at each pull, and at a stop if the service is not pulled yet; the stop waits
	// for it. Both are for registries, and have PullMax. After a swap Join is called too where the
	// old generation's has not succeeded.
	//
	// Gone is called at the end of a stop, before Run returns, when nothing is in flight any more,
	// in older generations neither. It has 5s. A generation that is replaced does not call it, so
	// that the service stays in the registry under one name. Nor does one that never was the main
	// one, nor any after a second signal to stop.
	//
	// One runs at a time: the next ends the ctx of the one before, and waits for it to return. Errors are logged. A
	// panic counts as one, and ends nothing; so does runtime.Goexit.
	Join, Leave, Gone func(ctx context.Context) error
}

// complete returns the configuration with its defaults, or an error for each field that can't be used.
func (c Config) complete() (Config, error) {
	var errs []error
	for _, f := range []struct {
		name string
		d    *time.Duration
		def  time.Duration
	}{
		{"Probation", &c.Probation, time.Second},
		{"SwapTimeout", &c.SwapTimeout, time.Minute},
		{"PauseMax", &c.PauseMax, 5 * time.Second},
		{"DrainTimeout", &c.DrainTimeout, 30 * time.Second},
		{"PullMax", &c.PullMax, 30 * time.Second},
		{"PullMin", &c.PullMin, 0},
		{"SessionSpread", &c.SessionSpread, 0},
		{"MaxConnectionAge", &c.MaxConnectionAge, 0},
	} {
		if *f.d < 0 {
			errs = append(errs, fmt.Errorf("drain: Config.%s is %v: want 0 for the default (%v), or more",
				f.name, *f.d, f.def))
		}
		*f.d = cmp.Or(*f.d, f.def)
	}
	if c.IdleGrace < 0 {
		errs = append(errs, fmt.Errorf("drain: Config.IdleGrace is %v: want 0 for the default (%v, in a "+
			"stop %v), or more", c.IdleGrace, swapGrace, stopGrace))
	}
	if c.MaxGenerations < 0 || c.MaxGenerations == 1 {
		errs = append(errs, fmt.Errorf("drain: Config.MaxGenerations is %d: want 0 for the default (4), "+
			"or at least 2: a swap needs two", c.MaxGenerations))
	}
	if c.Keeper < KeeperAuto || c.Keeper > KeeperNever {
		errs = append(errs, fmt.Errorf("drain: Config.Keeper is %v: want KeeperAuto, KeeperAlways or KeeperNever",
			c.Keeper))
	}
	if c.SwapTimeout <= c.Probation {
		errs = append(errs, fmt.Errorf("drain: Config.SwapTimeout (%v) must be longer than "+
			"Config.Probation (%v), which it covers", c.SwapTimeout, c.Probation))
	}
	if err := probeport.Check(c.HeartbeatAddress, c.AgentAddress); err != nil {
		errs = append(errs, err)
	}
	c.MaxGenerations = cmp.Or(c.MaxGenerations, 4)
	c.PingPath = cmp.Or(c.PingPath, "/ping")
	c.LivePath = cmp.Or(c.LivePath, "/livez")
	for _, p := range []struct{ name, path string }{{"PingPath", c.PingPath}, {"LivePath", c.LivePath}} {
		if p.path != "-" && !strings.HasPrefix(p.path, "/") {
			errs = append(errs, fmt.Errorf("drain: Config.%s is %q: want a path that begins with \"/\", "+
				"or \"-\" for none", p.name, p.path))
		}
	}
	if c.PingPath == c.LivePath && c.PingPath != "-" {
		errs = append(errs, fmt.Errorf("drain: Config.LivePath is %q, as is Config.PingPath, which fails while "+
			"pulled: want two paths, or \"-\" for one of them", c.LivePath))
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Version = cmp.Or(c.Version, buildVersion())
	if c.Signals == nil {
		c.Signals = &defaultSignals
	}
	if twice := c.Signals.twice(); twice != nil {
		errs = append(errs, fmt.Errorf("drain: Config.Signals has %s twice: each signal can mean one thing",
			later.SignalName(twice)))
	}
	return c, errors.Join(errs...)
}

const swapGrace, stopGrace = 5 * time.Second, time.Second

// sessionShare is what SessionSpread is for each session: about the time that a core takes to have one back over TLS.
const sessionShare = 500 * time.Microsecond

// sessionSpread is the time within which sessions are told, and the share of it that each has; 0: it is no matter how
// many they are.
func (c *Config) sessionSpread(stop bool) (within, share time.Duration) {
	within = c.idleGrace(stop)
	switch {
	case stop:
	case c.SessionSpread > 0:
		within = c.SessionSpread
	default:
		share = sessionShare
	}
	return min(within, c.DrainTimeout/2), share // and the other half to say goodbye
}

// hurried is when a drain has no more than a grace for what still rests, and which. A server of HTTP/2 closes a second
// after that.
func hurried(timeout time.Duration) (late, most time.Duration) {
	return timeout - max(timeout/4, min(timeout/2, 2*time.Second)), timeout / 8
}

func (c *Config) idleGrace(stop bool) time.Duration {
	grace := swapGrace
	if stop {
		grace = stopGrace
	}
	return cmp.Or(c.IdleGrace, min(grace, c.DrainTimeout/2))
}
