// Package probeport answers balancers that do not speak HTTP: heartbeats, and HAProxy's agent check.
package probeport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/baton-go/baton/health"
	"github.com/baton-go/baton/listener"
)

// heartbeatRetry is how long after a failure the heartbeat's port is tried again.
const heartbeatRetry = time.Second

// Ports are those of drain.Config.HeartbeatAddress and AgentAddress. Each generation opens them itself, beside the old
// one's (SO_REUSEPORT), before it takes over; what a pull has to close can't be passed on.
type Ports struct {
	heartbeatAddress, agentAddress string
	health                         *health.State

	heartbeat *health.Heartbeat // nil: off, or not open yet
	agent     net.Listener      // likewise
}

// New returns ports that are closed. An address that is empty stays off.
func New(heartbeatAddress, agentAddress string, h *health.State) *Ports {
	return &Ports{heartbeatAddress: heartbeatAddress, agentAddress: agentAddress, health: h}
}

// Check finds what can be found wrong without opening anything.
func Check(heartbeatAddress, agentAddress string) error {
	var errs []error
	for _, f := range []struct{ name, address string }{
		{"HeartbeatAddress", heartbeatAddress}, {"AgentAddress", agentAddress},
	} {
		if f.address == "" {
			continue
		}
		_, port, err := net.SplitHostPort(f.address)
		if err == nil {
			var n int
			if n, err = net.LookupPort("tcp", port); err == nil && n == 0 {
				err = errors.New("port 0 would be another one after each swap")
			}
		}
		if addr := new(net.AddrError); errors.As(err, &addr) {
			err = errors.New(addr.Err)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("drain: Config.%s is %q: %w; want host:port or :port", f.name,
				f.address, err))
		}
	}
	if heartbeatAddress != "" && heartbeatAddress == agentAddress {
		errs = append(errs, fmt.Errorf("drain: Config.HeartbeatAddress and Config.AgentAddress are both "+
			"%q: each needs a port of its own", agentAddress))
	}
	return errors.Join(errs...)
}

// Open does what can fail before a generation becomes the main one. Beside are the addresses at which the old one
// listens. Pulled tells that the old generation is pulled, and that this one will be. Then the heartbeat's port is not
// opened here, or a balancer would see the node as back.
func (p *Ports) Open(beside []string, pulled bool) (err error) {
	if p.agent, err = listen("AgentAddress", p.agentAddress, beside); err != nil || p.heartbeatAddress == "" {
		return err
	}
	again := func() (net.Listener, error) {
		defer func() { beside = nil }()
		return listen("HeartbeatAddress", p.heartbeatAddress, beside)
	}
	if pulled {
		p.health.Pull()
		defer p.health.Restore()
	}
	p.heartbeat, err = p.health.NewHeartbeat(again)
	return err
}

// listen returns nil where there is no address.
func listen(field, address string, beside []string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	ln, err := listenBeside(address, slices.Contains(beside, address))
	if err == nil {
		return ln, nil
	}
	return nil, fmt.Errorf("drain: Config.%s: %w%s", field, err, listener.Cure("tcp", address, err))
}

// Serve begins to answer, until Close. Failed is told why the heartbeat does not, once for each reason; it is tried
// again until ctx ends. The service works without, and a balancer that finds the port closed takes the node out, as it
// would at a pull.
func (p *Ports) Serve(ctx context.Context, failed func(error)) {
	if ln := p.agent; ln != nil {
		go p.health.ServeAgent(ln)
	}
	if h := p.heartbeat; h != nil {
		go serve(ctx, h, failed)
	}
}

func serve(ctx context.Context, h *health.Heartbeat, failed func(error)) {
	for last := ""; ; {
		err := h.Serve()
		if err == nil {
			return
		}
		if err.Error() != last {
			last = err.Error()
			failed(err)
		}
		select {
		case <-time.After(heartbeatRetry):
		case <-ctx.Done():
			return
		}
	}
}

// Close is for a generation that is not the main one any more, or never was. Open opens them again.
func (p *Ports) Close() {
	if p == nil { // New has failed before it came to them
		return
	}
	if p.agent != nil {
		_ = p.agent.Close()
	}
	if p.heartbeat != nil {
		p.heartbeat.Close()
	}
	p.agent, p.heartbeat = nil, nil
}
