package health

import (
	"errors"
	"iter"
	"net"
	"time"
)

// Heartbeat is a port for balancers that only connect, such as LVS and other
// balancers of TCP. While the service is healthy it accepts connections and
// closes them at once. [State.Pull] closes the port before it returns, so that
// connecting is refused, and after a [State.Restore] it is opened again.
//
// A failing heartbeat can't be seen. What can be known is when the last of Config.Failures has
// come. A prober of that kind has noticed a pull when Failures times its interval are over since
// its last heartbeat, and a moment: a tenth of its interval, at most 100 ms. Its interval is the
// longest of those lately seen. For a balancer whose heartbeats keep their distance when they fail
// that is never before it has taken the node out, and never more than one interval after. Where
// they keep a longer one then, because of a firewall that drops what it should refuse or of a
// slower recheck, set PullMin.
//
// Some balancers reset a heartbeat before the handshake is complete, HAProxy's
// plain "check" among them, and no process gets to see that. As long as nobody
// has ever been seen on the port a pull therefore waits for somebody whose
// interval is unknown, half of PullMax at most: less is for PullMax to say, and
// more for PullMin.
type Heartbeat struct {
	state  *State
	listen func() (net.Listener, error)
	closed chan struct{} // closed by Close

	// Guarded by state.mu; opened with state.doors held, too.
	ln   net.Listener // nil while pulled
	gone bool         // Close has been called
}

// NewHeartbeat calls listen, or leaves that for later if the service is pulled.
// The error is that of listen, which must not call methods of s.
func (s *State) NewHeartbeat(listen func() (net.Listener, error)) (*Heartbeat, error) {
	h := &Heartbeat{state: s, listen: listen, closed: make(chan struct{})}
	s.mu.Lock()
	s.heartbeats[h] = struct{}{}
	s.mu.Unlock()
	if _, err := h.open(); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// Serve accepts heartbeats until Close is called, and returns nil then.
// Otherwise the error is why the port could not be opened again, or was lost;
// to call Serve once more, after a while, is right then.
func (h *Heartbeat) Serve() error {
	var lingers lingering
	defer lingers.Wait()
	for h.awaitHealthy() {
		ln, err := h.open()
		if err != nil {
			return err
		}
		if ln == nil {
			continue // pulled again
		}
		accept(ln, func(nc net.Conn) {
			h.state.beat(nc.RemoteAddr().String())
			lingers.farewell(nc, func() {})
		})
		if h.lost(ln) {
			return errors.New("health: heartbeat: something else has closed the port")
		}
	}
	return nil
}

// Close closes the port for good.
func (h *Heartbeat) Close() {
	s := h.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.gone {
		return
	}
	h.gone = true
	close(h.closed)
	h.shut()
	delete(s.heartbeats, h)
}

// shut returns when no connect can succeed any more. state.mu is held.
func (h *Heartbeat) shut() {
	if h.ln != nil {
		_ = h.ln.Close()
		h.ln = nil
	}
}

// awaitHealthy waits until the service is not pulled; it reports false if h is
// closed before.
func (h *Heartbeat) awaitHealthy() bool {
	h.state.mu.Lock()
	restored := h.state.restored
	h.state.mu.Unlock()
	if restored != nil {
		select {
		case <-restored:
		case <-h.closed:
		}
	}
	select {
	case <-h.closed:
		return false
	default:
		return true
	}
}

// open returns the listener, nil if the service is pulled or h is closed.
func (h *Heartbeat) open() (net.Listener, error) {
	s := h.state
	s.doors.Lock() // no pull while the listener is nobody's to close
	defer s.doors.Unlock()
	s.mu.Lock()
	ln, off := h.ln, s.pulled || h.gone
	s.mu.Unlock()
	if ln != nil || off {
		return ln, nil
	}
	ln, err := h.listen()
	if err == nil && ln == nil {
		err = errors.New("health: heartbeat: listen returned no listener")
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.gone {
		_ = ln.Close()
		return nil, nil
	}
	h.ln = ln
	s.ledger.opened = s.now()
	return ln, nil
}

// lost reports whether ln was closed by somebody else.
func (h *Heartbeat) lost(ln net.Listener) bool {
	h.state.mu.Lock()
	defer h.state.mu.Unlock()
	if h.ln != ln {
		return false
	}
	h.ln = nil
	return true
}

func (s *State) beat(remote string) {
	id, known := s.identify(kindHeartbeat, remote, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	if known {
		s.ledger.seen(id, s.now(), s.pull())
	}
}

// watching yields the ledger, and, while nobody has been seen on a port for
// heartbeats, the prober that there may be.
func (s *State) watching(now time.Duration) iter.Seq[*prober] {
	return func(yield func(*prober) bool) {
		if len(s.heartbeats) > 0 && !s.ledger.beaten {
			if !yield(&prober{identity: identity{kind: kindHeartbeat}, last: now}) {
				return
			}
		}
		s.ledger.probers()(yield)
	}
}

// reach returns how long after the beginning of the present pull p, a
// heartbeat, has failed often enough and its balancer has had a moment to act.
// It is reckoned from the last one that was seen. One that has come once or
// twice is a balancer that has just begun, or a scan of the ports: it can
// hold a pull for 6 s, or for three intervals of the slowest known prober.
func (s *State) reach(p *prober) time.Duration {
	known, interval := p.pace()
	most := s.cfg.PullMax
	switch {
	case known > 0:
	case p.host == "":
		interval, most = s.assume(s.slowest), most/2
	default:
		interval, most = s.assume(s.slowest), 2*s.patience(s.slowest)
	}
	n := time.Duration(s.cfg.Failures)
	if interval <= 0 || n >= most/interval {
		return most
	}
	switch ago := s.since - p.last; {
	case known == 0:
		return n*interval + margin(interval)
	case ago <= interval:
		return n*interval + margin(interval) - ago
	default: // late or lost: the next comes at the end of this interval at the latest
		return n*interval - ago%interval
	}
}

// missed returns how many heartbeats of p must have failed by now.
func (s *State) missed(p *prober, now time.Duration) int {
	n, reach := s.cfg.Failures, s.reach(p)
	if gone := now - s.since; gone < reach {
		return int(float64(n) * float64(gone) / float64(reach))
	}
	return n
}

// assume returns what to think of a heartbeat's interval that is unknown: it is
// that of the slowest live prober, since balancers that stand side by side are mostly
// set alike, and where there is none a third of PullMax, since an operator
// with slower balancers has set a longer PullMax.
func (s *State) assume(slowest time.Duration) time.Duration {
	if slowest == 0 {
		return s.cfg.PullMax / 3
	}
	return slowest
}
