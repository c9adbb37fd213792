package drain

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/baton-go/baton/health"
	"github.com/baton-go/baton/listener"
)

// heartbeatRetry is how long after a failure the heartbeat's port is tried again.
const heartbeatRetry = time.Second

// ports are for balancers that do not speak HTTP: see Config.HeartbeatAddress and AgentAddress. Each generation opens
// them itself, beside the old one's (SO_REUSEPORT), before it takes over; what a pull has to close can't be passed on.
type ports struct {
	heartbeat *health.Heartbeat // nil: off, or not open yet
	agent     net.Listener      // likewise
}

// checkPorts finds what can be found wrong without opening anything.
func (c Config) checkPorts() error {
	var errs []error
	for _, f := range []struct{ name, address string }{
		{"HeartbeatAddress", c.HeartbeatAddress}, {"AgentAddress", c.AgentAddress},
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
		if err != nil {
			errs = append(errs, fmt.Errorf("drain: Config.%s is %q: %w; want host:port or :port", f.name,
				f.address, err))
		}
	}
	if c.HeartbeatAddress != "" && c.HeartbeatAddress == c.AgentAddress {
		errs = append(errs, fmt.Errorf("drain: Config.HeartbeatAddress and Config.AgentAddress are both "+
			"%q: each needs a port of its own", c.AgentAddress))
	}
	return errors.Join(errs...)
}

// openPorts does what can fail before this generation becomes the main one.
func (s *Service) openPorts() (err error) {
	if s.ports.agent, err = listenPort("AgentAddress", s.cfg.AgentAddress, s.os.ports); err != nil ||
		s.cfg.HeartbeatAddress == "" {
		return err
	}
	beside := s.os.ports
	listen := func() (net.Listener, error) {
		defer func() { beside = nil }()
		return listenPort("HeartbeatAddress", s.cfg.HeartbeatAddress, beside)
	}
	if s.os.pulled && s.cfg.KeepPull {
		// or a heartbeat would find that the node is back, until the old generation has said that
		// it is not
		s.health.Pull()
		defer s.health.Restore()
	}
	s.ports.heartbeat, err = s.health.NewHeartbeat(listen)
	return err
}

// listenPort returns nil where there is no address. Beside are those where the old generation listens.
func listenPort(field, address string, beside []string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	ln, err := listenBeside(address, slices.Contains(beside, address))
	if err == nil {
		return ln, nil
	}
	return nil, fmt.Errorf("drain: Config.%s: %w%s", field, err, listener.Cure("tcp", address, err))
}

// servePorts begins to answer.
func (s *Service) servePorts() {
	if ln := s.ports.agent; ln != nil {
		go s.health.ServeAgent(ln)
	}
	if h := s.ports.heartbeat; h != nil {
		go s.serveHeartbeat(h)
	}
}

// serveHeartbeat tries again and again: the service works without, and a balancer that finds the port closed takes the
// node out, as it would at a pull.
func (s *Service) serveHeartbeat(h *health.Heartbeat) {
	for last := ""; ; {
		err := h.Serve()
		if err == nil {
			return
		}
		if err.Error() != last {
			last = err.Error()
			s.call(func() { s.tell(slog.LevelError, "heartbeat failed", err) })
		}
		select {
		case <-time.After(heartbeatRetry):
		case <-s.ctx.Done():
			return
		}
	}
}

// reopenPorts undoes closePorts.
func (s *Service) reopenPorts() error {
	s.ports, s.os.ports, s.os.pulled = ports{}, nil, false
	err := s.openPorts()
	s.servePorts()
	return err
}

// closePorts is for a generation that is not the main one any more, or never was.
func (s *Service) closePorts() {
	if s.ports.agent != nil {
		_ = s.ports.agent.Close()
	}
	if s.ports.heartbeat != nil {
		s.ports.heartbeat.Close()
	}
}
