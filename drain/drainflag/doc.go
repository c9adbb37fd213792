// Package drainflag gives a service its command line: a flag, and a variable of the environment, for
// each setting of [drain.Config], and the commands to the running service.
//
//	var addr = flag.String("addr", ":8080", "listen on this `host:port`")
//
//	func main() { drainflag.Main("APP_", drain.Config{}, run) }
//
//	func run(cfg drain.Config) error {
//		svc, err := drain.New(cfg)
//		...
//		return svc.Run(context.Background())
//	}
//
// The flags are -agent, -control, -drain-timeout, -failures, -heartbeat, -idle-grace, -keep-pull,
// -keep-tls, -keeper, -live-path, -max-connection-age, -max-generations, -pause-max, -pidfile,
// -ping-path, -ping-status, -probation, -probers, -pull-max, -pull-min, -session-spread and
// -swap-timeout. Besides there is -s: "app -control app.sock -s reload" tells the service that runs with
// that control socket to swap, and returns when it has. The other commands are pull, restore, stop, status,
// health and metrics; see [drain.Control].
//
// Each flag but -s can come from the environment, the program's own flags included: -pull-max is
// APP_PULL_MAX where the prefix is "APP_". A flag on the command line counts more. A variable that
// is empty counts as none, and so does one for which there is no flag.
//
// The fields of Config that are functions, and Logger, Version and Signals, have no flag: the program sets
// them. What else it sets in Config is the default of the flag.
//
// [Main] is all of that. A program that parses its flags in its own way calls [Add] and the methods
// of [Flags].
package drainflag
