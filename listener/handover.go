package listener

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
)

// HandOver moves a connection of the application's to another process, together with its state. Give sends
// both there, and returns nil when AdoptOwn of the other process has confirmed that it has them. Then nc is closed
// here, which its client doesn't notice. After an error, of give or of HandOver itself, nc is as it was.
//
// nc was returned by a listener of the set whose server was not given to Track, or was hijacked
// from such a server. A wrapper with a NetConn method is taken off, unless it is TLS, whose keys
// can't go along. No goroutine may read nc meanwhile, and what was read and not used belongs in state. Deadlines
// stay here.
func (s *Set) HandOver(nc net.Conn, state []byte, give func(Ticket, syscall.Conn) error) error {
	c, err := s.own(nc)
	if err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	if c.adopted.known != nil {
		<-c.adopted.known
	}
	if err := c.beginHandOver(); err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	err = give(Ticket{Listener: c.sock.key, Hijacked: c.is(http.StateHijacked), State: state}, c)
	c.mu.Lock()
	c.move.byProgram = err == nil
	c.mu.Unlock()
	if err != nil {
		c.move.shared.Store(true)
		return err
	}
	s.moved.Add(1)
	c.closeMoved()
	return nil
}

// unsupported is errors.ErrUnsupported to errors.Is.
type unsupported string

func (e unsupported) Error() string        { return string(e) }
func (e unsupported) Is(target error) bool { return target == errors.ErrUnsupported }

// own finds the connection that is to be handed over.
func (s *Set) own(nc net.Conn) (*conn, error) {
	for under := nc; ; {
		if _, ok := under.(encrypted); ok {
			return nil, unsupported("a TLS connection can't be handed over: its keys are this process's")
		}
		u, ok := under.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		under = u.NetConn()
	}
	c, _ := unwrap(nc)
	switch {
	case c == nil || c.set != s:
		return nil, errors.New("not a connection of a listener of this service")
	case !isStreamSocket(c.Conn):
		return nil, unsupported("a connection within this process can't be handed over")
	}
	if c.is(http.StateNew) || c.is(http.StateIdle) || c.is(http.StateActive) {
		return nil, errors.New("an http.Server serves this connection, and hands it over by itself; hijack it first")
	}
	return c, nil
}

// beginHandOver claims c for HandOver.
func (c *conn) beginHandOver() error {
	c.awaitClaim()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.move.byProgram:
		return errors.New("the connection has been handed over, or is about to be")
	case c.closed:
		return net.ErrClosed
	}
	c.move.byProgram = true
	return nil
}

// AdoptOwn takes a connection from another process's HandOver: t and f are what its give was given.
// It calls adopt with the connection, and then ack with the error of that or of its own, which says
// why the connection is not taken and stays over there. Reads of the connection wait until ack has
// returned, so that the process that has it in the end has all its bytes. An error of ack means
// that the other side is gone, and the connection is kept; unless it is ErrWithdrawn. AdoptOwn
// closes f.
//
// A connection whose listener this set doesn't have, however it spells it, or has closed, is not
// taken.
func (s *Set) AdoptOwn(t Ticket, f *os.File, adopt func(net.Conn) error, ack func(error) error) error {
	c, err := s.restoreOwn(t, f)
	_ = f.Close()
	if err != nil {
		return ack(err)
	}
	defer close(c.adopted.known)
	refusal := adopt(c.netConn())
	if refusal != nil {
		c.closeMoved()
	}
	switch err = ack(refusal); {
	case refusal != nil:
	case errors.Is(err, ErrWithdrawn):
		c.closeMoved()
	default:
		s.adopted.Add(1)
	}
	return err
}

// closeMoved closes c here, which its client doesn't notice.
func (c *conn) closeMoved() {
	c.move.done.Store(true)
	_ = c.close(false)
}

func (s *Set) restoreOwn(t Ticket, f *os.File) (*conn, error) {
	c, err := s.restore(Ticket{Listener: t.Listener}, f)
	if err != nil {
		return nil, err
	}
	c.adopted.known = make(chan struct{})
	if t.Hijacked {
		c.state.Store(int32(http.StateHijacked) + 1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed { // Leave might not wait for it any more
		_ = c.Conn.Close()
		return nil, errors.New("the service is leaving")
	}
	s.conns[c] = struct{}{}
	return c, nil
}
