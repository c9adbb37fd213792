package drain

import (
	"context"
	"encoding/json"
	"fmt"
)

// Client tells a running service what to do, from another process: a deployment, a supervisor, an admin page. Its
// methods return when that is done, as those of Service do, and their errors are of the same kinds: see ErrDraining and
// RefusedError. Where no service answers, they match ErrStopped. The end of ctx ends the waiting, not the command; the
// error is that of ctx then.
type Client struct {
	// Socket is the service's Config.ControlSocket. There is no default.
	Socket string
}

// Swap starts the binary of the service again and lets it take over; see Service.Swap. An error that matches
// ErrSwapFailed has the reason for which the swap has failed. One that matches RefusedError says why none was tried.
func (c Client) Swap(ctx context.Context) error { return c.ask(ctx, "swap") }

// Pull has the balancers take the node out, and returns when they have; see Service.Pull. The error matches ErrRestored
// if the pull was ended before that, ErrNotReady or ErrDraining if the service can't be pulled.
func (c Client) Pull(ctx context.Context) error { return c.ask(ctx, "pull") }

// Restore ends a pull; see Service.Restore. The error is a RefusedError while the service drains or stops.
func (c Client) Restore(ctx context.Context) error { return c.ask(ctx, "restore") }

// Stop stops the service, and returns when all its processes are gone; see Control. An error that
// matches ErrCutOff says what could not be finished. The service itself must not call it.
func (c Client) Stop(ctx context.Context) error { return c.ask(ctx, "stop") }

// Status returns what the main generation is doing. Its WriteMetrics writes that for Prometheus. The error says that no
// service answers, or that the answer is not that of a service.
func (c Client) Status(ctx context.Context) (st Status, err error) {
	answer, err := Control(ctx, c.Socket, "status")
	if err == nil {
		if err = json.Unmarshal(answer, &st); err != nil {
			err = fmt.Errorf("drain: control: %s: %w", notOurs, err)
		}
	}
	return st, err
}

func (c Client) ask(ctx context.Context, command string) error {
	_, err := Control(ctx, c.Socket, command)
	return err
}
