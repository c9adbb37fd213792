package listener

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// Adopt takes over connections that another process's Leave hands over: tickets and files are what its Handover was
// given, as far as it arrived, and are in the same order. Adopt first finds out which of them it can take, then calls ack
// with that, and only then lets Accept return them: until the other side has the answer it still reads. An error of ack
// means that the other side is gone, and the connections are kept. Adopt closes the files.
//
// A connection whose listener this set doesn't have, or has closed, is not taken.
func (s *Set) Adopt(tickets []Ticket, files []*os.File, ack func(took []bool) error) error {
	s.adopts.Lock()
	defer s.adopts.Unlock()
	took := make([]bool, len(tickets))
	conns := make([]*conn, len(tickets))
	for i, f := range files {
		if i < len(tickets) {
			c, err := s.restore(tickets[i], f)
			conns[i], took[i] = c, err == nil
		}
		_ = f.Close()
	}
	err := ack(took)
	for _, c := range conns {
		if c == nil {
			continue
		}
		if c.sock.enqueue(c) {
			s.adopted.Add(1)
		} else { // its server failed just now and closed the listener
			_ = c.Conn.Close()
		}
	}
	return err
}

func (s *Set) restore(t Ticket, f *os.File) (*conn, error) {
	s.mu.Lock()
	so := s.sockets[t.Listener]
	s.mu.Unlock()
	if so == nil {
		return nil, fmt.Errorf("nobody listens on %q here", t.Listener)
	}
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	if !movable(nc) || nc.RemoteAddr() == nil {
		_ = nc.Close()
		return nil, errors.New("no connection, or its client has gone")
	}
	c := &conn{Conn: nc, set: s, sock: so}
	c.guest.Store(t.Idle)
	return c, nil
}

// movable tells whether nc is a stream socket of the kernel, and not some wrapper or a pipe.
func movable(nc net.Conn) bool {
	switch nc := nc.(type) {
	case *net.TCPConn:
		return true
	case *net.UnixConn:
		return nc.LocalAddr().Network() == "unix"
	}
	return false
}
