package drainflag

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/internal/later"
)

// Main is the main function of a service. It adds the flags of cfg to flag.CommandLine, parses the
// program's arguments and its environment (see Flags.Parse for prefix), and calls run with what cfg
// is then. With -s it sends the command to the running service instead, and prints the answer to
// status, health and metrics. It is called once, when the program has defined its own flags; arguments that
// are no flags are an error.
//
// It returns when run has returned nil, or the command is done, so that the program ends with exit
// code 0. An error of either it logs with slog.Error, see Flags.Explain, and exits with 1. A flag or
// variable that is wrong makes it exit with 2, and -help with 0.
func Main(prefix string, cfg drain.Config, run func(cfg drain.Config) error) {
	f := Add(flag.CommandLine, &cfg)
	_ = f.Parse(prefix, os.Args[1:]) // exits by itself
	err := f.main(&cfg, run)
	if err != nil {
		slog.Error("exiting", "err", f.Explain(err))
		os.Exit(1)
	}
}

func (f *Flags) main(cfg *drain.Config, run func(cfg drain.Config) error) error {
	if f.set.NArg() > 0 {
		return fmt.Errorf("%q is no flag: leave it out, or see -help", f.set.Arg(0))
	}
	if done, err := f.Command(context.Background(), os.Stdout); done || err != nil {
		return err
	}
	later.Explain = f.Explain
	return run(*cfg)
}

// Command does what -s says, and reports whether it says something. It returns when the running
// service has done it, or with the reason for which it could not; see drain.Control. The answer to
// status, metrics and health goes to out; that to health is a line such as "pulled, generation 2". For
// these three it waits 5s at most. The end of ctx ends the waiting, not what was asked for.
func (f *Flags) Command(ctx context.Context, out io.Writer) (done bool, err error) {
	if f.command == "" {
		return false, nil
	}
	if *f.control == "" {
		return true, errors.New("-s needs -control, the socket of the running service")
	}
	switch f.command {
	case "status", "metrics", "health":
		err = f.ask(ctx, out)
	default:
		_, err = drain.Control(ctx, *f.control, f.command)
	}
	if err != nil {
		err = fmt.Errorf("-s %s: %w", f.command, err)
	}
	return true, err
}

// askTime is for a service that hangs, or has no descriptor left to accept with: a supervisor waits for health, and a
// job of cron for metrics. A service answers these at once.
const askTime = 5 * time.Second

// ask is for the commands that change nothing.
func (f *Flags) ask(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askTime, fmt.Errorf("no answer in %v", askTime))
	defer cancel()
	answer, err := drain.Control(ctx, *f.control, f.command)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil && f.command == "health" {
		var st drain.Status
		if err = json.Unmarshal(answer, &st); err == nil {
			answer = fmt.Appendf(nil, "%s, generation %d\n", st.Phase, st.Generation)
		}
	}
	if err == nil {
		_, err = out.Write(answer)
	}
	return err
}
