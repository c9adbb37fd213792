//go:build unix

package drain_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// What follows are listeners that hold a connection before a server knows of it.

// reading returns what greet makes of each connection, and reads for that inside Accept. Who says nothing
// keeps the others waiting.
type reading struct {
	net.Listener
	greet func(net.Conn) (net.Conn, error)
}

func (r reading) Accept() (net.Conn, error) {
	for {
		nc, err := r.Listener.Accept()
		if err != nil {
			return nil, err
		}
		greeted, err := r.greet(nc)
		if err == nil {
			return greeted, nil
		}
		_ = nc.Close()
	}
}

// proxyHeader2 is proxyHeader in version 2 of the protocol.
const proxyHeader2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x50"

// readProxyHeader reads one of either version, if there is one.
func readProxyHeader(nc net.Conn) (net.Conn, error) {
	br := bufio.NewReader(nc)
	first, err := br.Peek(1)
	switch {
	case err != nil:
		return nil, err
	case first[0] == proxyHeader[0]:
		first, err = br.Peek(6)
		if err == nil && string(first) == proxyHeader[:6] {
			_, err = br.ReadString('\n')
		}
		return &ahead{nc, br}, err
	case first[0] != proxyHeader2[0]:
		return &ahead{nc, br}, nil
	}
	var head [16]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return nil, err
	}
	_, err = br.Discard(int(binary.BigEndian.Uint16(head[14:])))
	return &ahead{nc, br}, err
}

// shake shakes hands.
func shake(config *tls.Config) func(net.Conn) (net.Conn, error) {
	return func(nc net.Conn) (net.Conn, error) {
		tc := tls.Server(nc, config)
		return tc, tc.Handshake()
	}
}

// mux looks at the first bytes of each connection to know whose it is, as cmux does, and like that closes
// those that it has not given to anybody when its listener is closed.
type mux struct {
	net.Listener
	web   chan net.Conn
	lines chan net.Conn
	over  chan struct{} // closed when err is set
	err   error
}

// newMux returns the listener for HTTP. Lines that begin with "echo " are answered by the mux's other server, of which
// the service knows nothing.
func newMux(ln net.Listener) *mux {
	m := &mux{Listener: ln, web: make(chan net.Conn), lines: make(chan net.Conn), over: make(chan struct{})}
	go m.run()
	go m.echo()
	return m
}

func (m *mux) run() {
	for {
		nc, err := m.Listener.Accept()
		if err != nil {
			m.err = err
			close(m.over)
			return
		}
		go m.sort(nc)
	}
}

func (m *mux) sort(nc net.Conn) {
	br := bufio.NewReader(nc)
	first, err := br.Peek(5)
	if err != nil {
		_ = nc.Close()
		return
	}
	to := m.web
	if string(first) == "echo " {
		to = m.lines
	}
	select {
	case to <- &ahead{nc, br}:
	case <-m.over:
		_ = nc.Close()
	}
}

// echo answers each line a moment after it has come.
func (m *mux) echo() {
	for {
		select {
		case nc := <-m.lines:
			go func() {
				defer nc.Close()
				for br := bufio.NewReader(nc); ; {
					line, err := br.ReadString('\n')
					if err != nil {
						return
					}
					time.Sleep(echoTime)
					if _, err := io.WriteString(nc, line); err != nil {
						return
					}
				}
			}()
		case <-m.over:
			return
		}
	}
}

// echoTime is far more than the grace in the tests of a mux.
const echoTime = 3 * time.Second

func (m *mux) Accept() (net.Conn, error) {
	select {
	case nc := <-m.web:
		return nc, nil
	case <-m.over:
		return nil, m.err
	}
}

// queue takes all clients that come, and returns no more at a time than there is room for.
type queue struct {
	net.Listener
	room chan struct{}

	mu    sync.Mutex // guards what follows
	grown sync.Cond
	conns []net.Conn
	err   error
}

func newQueue(ln net.Listener, room int) *queue {
	q := &queue{Listener: ln, room: make(chan struct{}, room)}
	q.grown.L = &q.mu
	go q.run()
	return q
}

func (q *queue) run() {
	for {
		nc, err := q.Listener.Accept()
		q.mu.Lock()
		if err == nil {
			q.conns = append(q.conns, nc)
		}
		q.err = err
		q.grown.Broadcast()
		q.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (q *queue) Accept() (net.Conn, error) {
	q.room <- struct{}{}
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.conns) == 0 {
		if q.err != nil {
			return nil, q.err
		}
		q.grown.Wait()
	}
	nc := q.conns[0]
	q.conns = q.conns[1:]
	return &limited{Conn: nc, release: func() { <-q.room }}, nil
}
