package drain

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/baton-go/baton/listener"
)

const maxState = 64 << 10 // bytes

// HandOver gives a connection of the application's to the next generation, whose Config.Adopt gets
// it with state: at most 64 KiB in whatever form the next version understands. Nil means that the
// connection is the other generation's, and conn is closed here, which the client doesn't notice.
// After an error conn is as it was, still the caller's to use and to close: the other side may have
// refused it, died, or not answered for 5 s, or a quarter of Config.DrainTimeout if that is less.
// An answer after that does not count. HandOver may be tried again until Config.DrainTimeout.
//
// It works once draining has begun because of a swap, which DrainStarted and Draining tell. Before that, and in a
// stop, it fails at once. It returns when Config.Adopt has, so call it for many connections at the same time.
//
// Conn was accepted from a listener of Listen, or hijacked from a server given to Serve, or came to
// Config.Adopt. A wrapper that has a NetConn method, as tls.Conn has, is taken off: what it has
// buffered is the caller's to put into state, as is all that was read and not answered. TLS
// connections can't be handed over. Nobody may read or write conn while HandOver runs: a reader is
// stopped by SetReadDeadline. Deadlines don't go along.
//
// Not promised: that a connection outlives the generation that has adopted it, if that crashes.
func (s *Service) HandOver(conn net.Conn, state []byte) error {
	if len(state) > maxState {
		return fmt.Errorf("drain: hand over: %d bytes of state are more than %d", len(state), maxState)
	}
	to, err := s.successor()
	if err == nil {
		err = s.set.HandOver(conn, state, func(t listener.Ticket, c syscall.Conn) error {
			return to.giveOwn(s.ctx, t, c)
		})
	}
	if err != nil {
		return fmt.Errorf("drain: hand over: %w", err)
	}
	return nil
}

// successor is the swap by which this generation was replaced.
func (s *Service) successor() (sw *swap, err error) {
	if !s.call(func() {
		switch {
		case s.phase == Draining && s.replaced():
			sw = s.swap
		case s.phase == Draining || s.stopping:
			err = refused("the service stops, no generation follows", s.leaving()...)
		default:
			err = refused("no swap has made this generation drain")
		}
	}) {
		err = ErrStopped
	}
	return sw, err
}

// adopt answers an offer of HandOver by ack, which returns an error when the old generation is
// gone, or has withdrawn it.
func (s *Service) adopt(m message, files []*os.File, ack func(message) error) {
	answer := func(err error) error {
		if err != nil {
			s.cfg.Logger.Warn("connection not adopted", "err", err)
			return ack(message{Took: []bool{false}, Reason: reason(err)})
		}
		return ack(message{Took: []bool{true}})
	}
	if why := s.unfit(m, files); why != nil {
		closeAll(files)
		_ = answer(why)
		return
	}
	t := m.Tickets[0]
	_ = s.set.AdoptOwn(t, files[0], func(nc net.Conn) error { return s.callAdopt(nc, t.State) }, answer)
}

// unfit tells why an offer can't even be considered.
func (s *Service) unfit(m message, files []*os.File) error {
	main := false
	s.call(func() { main = s.phase != Starting && s.phase != Probation && s.phase != Stopped })
	switch {
	case !main:
		return errors.New("not the main generation")
	case s.cfg.Adopt == nil:
		return errors.New("it has no Config.Adopt")
	case len(m.Tickets) != 1:
		return fmt.Errorf("%d tickets", len(m.Tickets))
	case len(files) == 0:
		return errors.New("no descriptor has arrived: it may be out of them")
	case len(files) > 1:
		return fmt.Errorf("%d descriptors", len(files))
	case len(m.Tickets[0].State) > maxState:
		return fmt.Errorf("%d bytes of state", len(m.Tickets[0].State))
	}
	return nil
}

// callAdopt turns a panic into a refusal: the connection has a process that can serve it.
func (s *Service) callAdopt(nc net.Conn, state []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.cfg.Logger.Log(s.ctx, slog.LevelError, "Config.Adopt panicked", "panic", r, "stack",
				string(debug.Stack()))
			err = fmt.Errorf("Config.Adopt panicked: %v", r)
		}
	}()
	if err = s.cfg.Adopt(nc, state); err != nil {
		err = fmt.Errorf("Config.Adopt: %w", err)
	}
	return err
}
