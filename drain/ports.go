package drain

import (
	"context"
	"log/slog"

	"github.com/baton-go/baton/drain/internal/probeport"
)

// portsPart is the ports of Config.HeartbeatAddress and AgentAddress, which one generation serves. A client that
// connects when the old one closes its port would be reset, but the next one's is open by then.
func portsPart(ctx context.Context, ports *probeport.Ports, sys *system, keepPull bool, in inbox) part {
	serve := func() {
		ports.Serve(ctx, func(err error) {
			in.post(trouble{EventPortFailed, slog.LevelError, "heartbeat failed", err, nil})
		})
	}
	return part{
		prepare: func() error { return ports.Open(sys.ports, sys.pulled && keepPull) },
		acquire: serve,
		release: func(*message) { ports.Close() },
		regain: func() {
			err := ports.Open(nil, false)
			serve()
			if err != nil {
				go in.post(trouble{EventPortFailed, slog.LevelError, "ports are closed", err, nil})
			}
		},
		end: func(ending) { ports.Close() },
	}
}
