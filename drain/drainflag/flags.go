package drainflag

import (
	"flag"
	"time"

	"github.com/baton-go/baton/drain"
)

// Flags are the flags that Add has added to a FlagSet. They are for one goroutine at a time.
type Flags struct {
	set     *flag.FlagSet
	control *string           // the control socket
	command string            // what -s says
	names   map[string]string // of the flags, by the names of their fields in Config
	from    map[string]string // the variables that were used, by the names of their flags
}

// Add adds to fs a flag for each setting of cfg, and -s. What cfg has already is the default of the
// flag; where it has nothing, the library's default is, which Add writes into cfg. The values are
// in cfg when fs is parsed, by Flags.Parse or fs.Parse. Add panics where fs has a flag of one of
// these names, as the methods of fs do.
func Add(fs *flag.FlagSet, cfg *drain.Config) *Flags {
	f := &Flags{
		set: fs, control: &cfg.ControlSocket, names: make(map[string]string), from: make(map[string]string),
	}
	for _, s := range settings(cfg) {
		fs.Var(s.value, s.name, s.usage)
		f.names[s.field] = s.name
	}
	fs.StringVar(&f.command, "s", "",
		"send this `command` to the running service and exit: reload, pull, restore, stop, status, health or metrics")
	return f
}

// setting is a field of drain.Config that has a flag.
type setting struct {
	field, name string
	value       flag.Value
	usage       string
}

// settings lists every field but the functions, Logger, Version and Signals.
func settings(cfg *drain.Config) []setting {
	return []setting{
		{"PIDFile", "pidfile", text(&cfg.PIDFile, ""),
			"keep the pid of the process in charge in this `file`"},
		{"ControlSocket", "control", text(&cfg.ControlSocket, ""),
			"take commands on this unix `socket`; with -s, send one to it"},
		{"HeartbeatAddress", "heartbeat", text(&cfg.HeartbeatAddress, ""),
			"for balancers that only connect: a `host:port` that is open while this node is to get traffic"},
		{"AgentAddress", "agent", text(&cfg.AgentAddress, ""),
			"answer HAProxy's agent-check on this `host:port`"},

		{"Probation", "probation", duration(&cfg.Probation, time.Second),
			"the `time` that a new generation must live before it takes over"},
		{"SwapTimeout", "swap-timeout", duration(&cfg.SwapTimeout, time.Minute),
			"the `time` that a swap may take, start and probation included"},
		{"PauseMax", "pause-max", duration(&cfg.PauseMax, 5*time.Second),
			"the `time` that each step of a swap's pause may take: handlers end, state is released, and acquired"},
		{"MaxGenerations", "max-generations", number(&cfg.MaxGenerations, 4),
			"the `number` of processes that the service may have at once, 2 or more"},
		{"DrainTimeout", "drain-timeout", duration(&cfg.DrainTimeout, 30*time.Second),
			"the `time` that a swap or a stop waits for what is in flight"},
		{"IdleGrace", "idle-grace", duration(&cfg.IdleGrace, 0),
			"the `time` for which a connection that can't be handed over may rest; 0 is 5s, in a stop 1s"},
		{"SessionSpread", "session-spread", duration(&cfg.SessionSpread, 0),
			"the `time` over which a swap tells sessions to leave, one by one; 0 is 500µs each, -idle-grace at most"},
		{"KeepTLS", "keep-tls", yes(&cfg.KeepTLS),
			"hand no connection over TLS to the next process, and take none"},
		{"MaxConnectionAge", "max-connection-age", duration(&cfg.MaxConnectionAge, 0),
			"the `time` after which an answer tells a client to connect again, within 10 %; 0 is never"},

		{"PullMin", "pull-min", duration(&cfg.PullMin, 0),
			"the least `time` that a pull takes, for balancers that learn of it late"},
		{"PullMax", "pull-max", duration(&cfg.PullMax, 30*time.Second),
			"the `time` that a pull waits for the probers to notice"},
		{"Failures", "failures", number(&cfg.Failures, 3),
			"the `number` of failing probes after which the balancer takes a node out"},
		{"Probers", "probers", networksOf(&cfg.Probers),
			"the `networks` that the balancers' probes come from: 10.0.0.0/8,192.168.1.7 (default: any)"},
		{"PingStatus", "ping-status", number(&cfg.PingStatus, 501),
			"the `status` that the ping path answers while this node is pulled"},
		{"PingPath", "ping-path", text(&cfg.PingPath, "/ping"),
			"the `path` that the balancers probe; - for none"},
		{"LivePath", "live-path", text(&cfg.LivePath, "/livez"),
			"the `path` that answers 200 as long as the process serves; - for none"},
		{"KeepPull", "keep-pull", yes(&cfg.KeepPull),
			"let a swap not end a pull"},

		{"Keeper", "keeper", keeper(&cfg.Keeper),
			"let the first process stay in front, for what waits for it: `when`: auto, always or never"},
	}
}
