package drain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/pidfile"
)

// checkTimeout bounds one request of the self-check.
const checkTimeout = 5 * time.Second

// probation lets a new generation show that it works, before anybody depends on it: not a single
// connection from outside is accepted, so that nothing is lost if it doesn't. It checks itself at
// once and at each quarter of the time.
func (s *Service) probation() {
	s.enter(Probation, "probation", "for", s.cfg.Probation)
	over := time.NewTimer(s.cfg.Probation)
	ctx, done := context.WithCancel(s.ctx)
	s.endProbation = done
	if s.parent == nil && s.os.linked {
		done() // nobody serves: no time to lose
	}
	go func() {
		err := s.selfCheck()
		for again := s.cfg.Probation/4 + time.Millisecond; err == nil; err = s.selfCheck() {
			select {
			case <-time.After(again):
				continue
			case <-over.C:
			case <-ctx.Done():
			}
			break
		}
		s.call(func() {
			switch {
			case s.phase != Probation:
			case err != nil:
				s.fail(fmt.Errorf("drain: self-check: %w", err))
			default:
				s.prove()
			}
		})
	}()
}

// stepUp does what the machine of the new side says.
func (s *Service) stepUp(e lifecycle.NewEvent) {
	var effects []lifecycle.NewEffect
	before := s.side.Phase
	s.side, effects = s.side.Step(e)
	for _, effect := range effects {
		switch effect {
		case lifecycle.Hasten:
			if s.endProbation != nil {
				s.endProbation()
			}
		case lifecycle.SayReady:
			s.sayReady()
		case lifecycle.TakeOver:
			if before == lifecycle.Candidate {
				_ = s.os.ready() // to a program that uses tableflip alone
			}
			s.takeOver()
		case lifecycle.Inherit:
			s.inheritLate(*s.word)
		case lifecycle.Leave:
			s.parent.send(message{Kind: kindFailed, Reason: "stopped before it was ready"})
			s.finish("stopped before it was ready", nil)
		}
	}
}

// prove does everything that can fail before this generation says that it is ready.
func (s *Service) prove() {
	err := errors.Join(s.openControl(), s.openPorts())
	if err != nil {
		s.fail(err)
		return
	}
	if s.placePID, err = pidfile.Path(s.cfg.PIDFile).Prepare(s.os.pid); err != nil {
		s.fail(err)
		return
	}
	s.introduce()
	s.side.Alone = s.parent == nil
	s.stepUp(lifecycle.Proven)
}

// slowDisk is how long the loop waits for a disk.
const slowDisk = 250 * time.Millisecond

// placePIDFile waits for a moment, so that whoever hears that this generation serves finds its pid
// in the file. A slow disk may take longer.
func (s *Service) placePIDFile() {
	if s.placePID == nil {
		return
	}
	placed := make(chan struct{})
	go func() {
		err := s.placePID()
		close(placed)
		if err != nil { // the old generation is leaving: better so than not at all
			s.call(func() { s.tell(slog.LevelError, "the PID file names the old generation", err) })
		}
	}()
	select {
	case <-placed:
	case <-time.After(slowDisk):
		s.cfg.Logger.Warn("the disk of the PID file is slow: it names the old generation still", "path", s.cfg.PIDFile)
	}
}

// sayReady also makes sure that somebody serves, should the old generation say nothing.
func (s *Service) sayReady() {
	err := s.os.ready()
	s.tell(slog.LevelInfo, "proven", nil)
	if err != nil {
		s.tell(slog.LevelWarn, "the old generation is gone before it could hand over", err)
		s.stepUp(lifecycle.OldGone)
		return
	}
	go func() {
		tick := time.NewTicker(lifecycle.Tick)
		defer tick.Stop()
		for waits := true; waits; {
			<-tick.C
			waits = s.call(func() {
				s.stepUp(lifecycle.NewTick)
				waits = s.side.Phase == lifecycle.Awaiting
			}) && waits
		}
	}()
}

// takeOver makes this generation the main one, which says so as soon as its doors are open.
func (s *Service) takeOver() {
	m := message{Join: true} // where the old generation has said nothing
	if s.word != nil {
		m = *s.word
	}
	s.importLedger(m.Ledger)
	s.inheritTotals(s.parent, m)
	if s.parent != nil {
		s.older = append(s.older, s.parent)
		s.parent = nil
	}
	s.pullBy = max(s.pullBy, m.PullBy)
	asked := m.asked()
	asked.then(s.later)
	s.later = asked
	s.join, s.hooks.joined = m.Join, !m.Join
	s.manager.becomeMain(s.word != nil)
	s.beginTickets(m.TicketKeys)
	s.openDoors("promoted")
	s.os.succeed()
	s.keepSockets()
	s.succeedAt(m)
	s.settleIn()
}

// inheritLate takes what the old generation sends to one that has taken over without its word.
func (s *Service) inheritLate(m message) {
	s.importLedger(m.Ledger)
	s.inheritTotals(s.giver, m)
	s.succeedAt(m)
	p := m.asked()
	for _, v := range p.verbs() {
		s.heed(v, s.giver.Generation, nil)
	}
}

// asked is what m asks for.
func (m message) asked() pending { return pending{swap: m.Swap, pull: m.Pulled, pullLast: m.PullLast} }

func (s *Service) importLedger(ledger []byte) {
	if len(ledger) > 0 {
		if err := s.health.Import(ledger); err != nil {
			s.tell(slog.LevelWarn, "the ledger of probers is lost", err)
		}
	}
}

// succeedAt takes the old generation's place in the file system, and waits for the links to older
// ones. It removes what the old generation has left at other places than this one's.
func (s *Service) succeedAt(m message) {
	s.coming = max(0, min(m.Older, 1<<16))
	if m.PIDFile != s.cfg.PIDFile { // the old version's, or none
		_ = pidfile.Path(m.PIDFile).Remove(m.PID)
	}
	s.removeControl(m.Control)
}

// selfCheck asks each server of ours for the ping path, through its own Accept, and then Config.Check.
func (s *Service) selfCheck() error {
	servers, err := s.askServers(s.cfg.PingPath, s.cfg.LivePath, false)
	if err != nil {
		return err
	}
	if s.cfg.Check == nil {
		return nil
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return s.dialSelf(ctx, servers, addr)
		},
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			secured := slices.DeleteFunc(slices.Clone(servers), func(srv server) bool { return srv.sec == nil })
			return s.dialSelf(ctx, secured, addr)
		},
	}}
	defer client.CloseIdleConnections()
	if err := await(s.ctx, orCrash, func() error { return s.cfg.Check(s.ctx, client) }); err != nil {
		return fmt.Errorf("Config.Check: %w", err)
	}
	return nil
}

// dialSelf connects to the server at addr, or else to the first one, with TLS if it wants that.
func (s *Service) dialSelf(ctx context.Context, servers []server, addr string) (net.Conn, error) {
	i := slices.IndexFunc(servers, func(srv server) bool { return srv.ln.Addr().String() == addr })
	if len(servers) == 0 {
		return nil, errors.New("the service has no such listener")
	}
	srv := servers[max(i, 0)]
	nc, err := s.set.Dial(srv.ln)
	if err != nil || srv.sec == nil {
		return nc, err
	}
	name, _, _ := net.SplitHostPort(addr)
	tc, err := srv.sec.Handshake(ctx, nc, name)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return tc, nil
}

// askServers asks each server of ours, for the second path where the first is "-". Any answer will do if any says so.
func (s *Service) askServers(path, otherwise string, any bool) (servers []server, err error) {
	s.call(func() { servers = s.servers })
	if path == "-" {
		path = otherwise
	}
	for _, srv := range servers {
		if err := s.checkServer(srv, path); err != nil && !(any && errors.As(err, new(badAnswer))) {
			return nil, fmt.Errorf("%v: %w", srv.ln.Addr(), err)
		}
	}
	return servers, nil
}

// checkServer speaks HTTP by itself: a client's Transport would double the time that a swap takes in this process.
func (s *Service) checkServer(srv server, path string) error {
	if !s.set.Made(srv.ln) {
		return nil // what wraps our listener may want TLS: only Config.Check knows how to talk to it
	}
	nc, err := s.set.Dial(srv.ln)
	if err != nil {
		return err
	}
	defer nc.Close()
	if path == "-" {
		return nil
	}
	req, err := http.NewRequest(http.MethodGet, "http://self"+path, nil)
	if err != nil {
		return err
	}
	req.Close = true
	_ = nc.SetDeadline(time.Now().Add(checkTimeout))
	wire := nc
	if srv.sec != nil {
		switch wire, err = srv.sec.Handshake(s.ctx, nc, ""); {
		case err != nil && srv.sec.Chooses, err == nil && !srv.sec.HTTP1:
			return nil
		case err != nil:
			return err
		}
	}
	err = req.Write(wire)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(bufio.NewReader(wire), req)
	}
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s answers %w", path, badAnswer(resp.Status))
	}
	return nil
}

// badAnswer is an answer other than 200.
type badAnswer string

func (r badAnswer) Error() string { return string(r) }
