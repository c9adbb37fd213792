package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/baton-go/baton/listener/internal/dormant"
	"github.com/baton-go/baton/listener/internal/place"
	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// ErrWithdrawn is what ack of Adopt and AdoptOwn returns when the other side serves on: the
// connections are not taken. They are closed here, which their clients don't notice.
var ErrWithdrawn = errors.New("listener: the offer is withdrawn")

// ackTime is how long Leave waits for an ack that has begun.
const ackTime = 5 * time.Second

// Adopt takes over connections that another process's Leave hands over: tickets and files are what
// its Handover was given, as far as it arrived, and are in the same order. Adopt first finds out
// which of them it can take, then calls ack with that. Only then it lets Accept return them: until
// the other side has the answer it still reads. Adopt returns the error of ack. It means that the other side is gone,
// and the connections are kept; unless it is ErrWithdrawn. Adopt closes the files. Leave waits for
// an ack that has begun, for 5 s at most.
//
// A connection whose listener this set doesn't have, however it spells it, or has closed, is not
// taken. Neither is one whose Form is not known.
func (s *Set) Adopt(tickets []Ticket, files []*os.File, ack func(took []bool) error) error {
	return s.adopt(tickets, len(files), func(i int, t *Ticket) (c *conn) {
		defer files[i].Close()
		if t != nil {
			c, _ = s.restore(*t, files[i])
		}
		return c
	}, ack)
}

// AdoptFDs is Adopt for bare descriptors, which it owns from then on: it closes those that it does not use. It returns
// the error of ack, as Adopt does. On Linux it needs a fraction of the time. A connection between two requests is
// dormant, until its client sends something, or there is time to give it to a server.
func (s *Set) AdoptFDs(tickets []Ticket, fds []int, ack func(took []bool) error) error {
	return s.adopt(tickets, len(fds), func(i int, t *Ticket) (c *conn) {
		if t != nil {
			if c = s.keepDormant(*t, fds[i]); c != nil {
				return c
			}
		}
		f := os.NewFile(uintptr(fds[i]), "connection")
		defer f.Close()
		if t != nil {
			c, _ = s.restore(*t, f)
		}
		return c
	}, ack)
}

// adopt is Adopt for what arrived as n descriptors. Restore takes the i-th, and returns nil where it can't be used;
// its ticket is nil where it has none, or nothing is taken.
func (s *Set) adopt(tickets []Ticket, n int, restore func(i int, t *Ticket) *conn, ack func(took []bool) error) error {
	open := s.beginAdopt()
	if open {
		defer s.adopting.Done()
	}
	took := make([]bool, len(tickets))
	conns := make([]*conn, len(tickets))
	for i := range n {
		if i >= len(tickets) || !open {
			restore(i, nil)
			continue
		}
		conns[i] = restore(i, &tickets[i])
		took[i] = conns[i] != nil
	}
	err := ack(took)
	for _, c := range conns {
		if c == nil {
			continue
		}
		if !errors.Is(err, ErrWithdrawn) && c.enter() {
			s.adopted.Add(1)
		} else { // or its server failed just now and closed the listener
			_ = c.Conn.Close()
			c.wipeTaken()
		}
	}
	return err
}

// keepDormant takes the descriptor of a connection of which no server needs to know yet, or returns nil.
func (s *Set) keepDormant(t Ticket, fd int) *conn {
	s.mu.Lock()
	so := s.sockets[t.Listener]
	s.mu.Unlock()
	if so == nil || !t.Idle || t.Form != "" && t.Form != formTLS {
		return nil
	}
	nc := dormant.New(fd)
	if nc == nil {
		return nil
	}
	c := so.newAdopted(nc, t)
	c.adopted.dormant = true
	if t.Form == formTLS {
		err := c.take(t.State, false)
		c.speaks.Store(insealed)
		if err != nil { // restore closes it
			return nil
		}
	}
	return c
}

// enter gives c to its socket, and reports false when that is closed.
func (c *conn) enter() bool {
	if c.adopted.dormant {
		return c.sock.rest(c)
	}
	return c.sock.enqueue(c)
}

// beginAdopt reports false once the listeners are closed. Otherwise they stay open until adopting
// is done, or Leave gives up waiting.
func (s *Set) beginAdopt() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.adopting.Add(1)
	}
	return !s.closed
}

// awaitAdopts waits for what beginAdopt has begun.
func (s *Set) awaitAdopts(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.adopting.Wait()
	}()
	late := time.NewTimer(ackTime)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	case <-ctx.Done():
	}
}

func (s *Set) restore(t Ticket, f *os.File) (*conn, error) {
	switch t.Form {
	case "", formTLS, formHTTP2, formSealedHTTP2:
	default:
		return nil, fmt.Errorf("connections of form %q are not known here", t.Form)
	}
	nc, err := sockopt.FileConn(f)
	if err != nil {
		return nil, err
	}
	if !isStreamSocket(nc) || nc.RemoteAddr() == nil {
		_ = nc.Close()
		return nil, errors.New("no connection, or its client has gone")
	}
	so := s.socketOf(t.Listener, nc.LocalAddr())
	if so == nil {
		_ = nc.Close()
		return nil, fmt.Errorf("this process does not listen on %q", t.Listener)
	}
	c := so.newAdopted(nc, t)
	switch t.Form {
	case formTLS:
		err = c.take(t.State, false)
		c.speaks.Store(insealed)
	case formHTTP2:
		c.resumed, err = so.resume(t.State, false)
	case formSealedHTTP2:
		err = c.takeHTTP2(t)
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nil
}

// take takes the keys of a connection over TLS.
func (c *conn) take(keys []byte, http2 bool) error {
	taken, err := c.sock.secured.Load().open(keys, http2)
	c.adopted.keys.Store(taken)
	c.adopted.keyed = true
	c.secure(new(sniff.Records))
	return err
}

func (c *conn) takeHTTP2(t Ticket) error {
	keys, state, err := splitState(t.State)
	if err == nil {
		c.resumed, err = c.sock.resume(state, true)
	}
	if err == nil {
		err = c.take(keys, true)
	}
	return err
}

func (so *socket) newAdopted(nc net.Conn, t Ticket) *conn {
	left := time.Duration(t.Left) * time.Millisecond
	c := &conn{Conn: nc, set: so.set, sock: so, age: age{end: endOfAge(so.set.cfg.MaxAge, left)}}
	c.adopted.at = time.Now()
	c.adopted.idle.Store(t.Idle && (t.Form == "" || t.Form == formTLS))
	return c
}

// socketOf returns the socket to which a connection of another process belongs. This version may
// spell the key otherwise: then it is the socket that a client of that local address would reach
// now.
func (s *Set) socketOf(key string, local net.Addr) (best *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if so := s.sockets[key]; so != nil {
		return so
	}
	at := place.Of(local, false)
	closer := func(p place.Place) int { // as the kernel chooses
		switch ip := p.Addr.Addr(); {
		case !ip.IsUnspecified():
			return 3
		case ip.Is4():
			return 2
		}
		return 1
	}
	rank := 0
	for _, so := range s.sockets {
		p := place.OfSocket(so.ln, so.ln.Addr())
		switch {
		case p.Network != at.Network:
		case p.Network == "unix" && p.Path == at.Path && p.Path != "":
			return so
		case p.Network == "tcp" && p.Addr.Port() == at.Addr.Port() && p.Covers(at.Addr.Addr()) && closer(p) > rank:
			best, rank = so, closer(p)
		}
	}
	return best
}
