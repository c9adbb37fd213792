//go:build unix

package drain_test

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// crowd is clients that don't give up: each sends requests, one after the other, on new connections. Nothing of it is
// retried: what goes wrong is counted.
type crowd struct {
	s       *service
	dial    func() (*client, error)
	keep    bool // every other client keeps its connection
	quit    chan struct{}
	clients sync.WaitGroup
	beats   []atomic.Int64 // requests answered, by client

	mu      sync.Mutex // guards what follows
	refused []error    // nobody listened
	broken  []error    // what had been accepted was not answered
}

// attract begins a crowd of n clients, of which every other one keeps its connection.
func (s *service) attract(n int) *crowd {
	s.Helper()
	return s.attractBy(n, true, func() (*client, error) { return dial(s) })
}

// attractTo begins a crowd of n clients, all with new connections, to that TCP address.
func (s *service) attractTo(address string, n int) *crowd {
	s.Helper()
	return s.attractBy(n, false, func() (*client, error) {
		nc, err := net.DialTimeout("tcp", address, hung)
		if err != nil {
			return nil, err
		}
		return &client{Conn: nc, r: bufio.NewReader(nc)}, nil
	})
}

func (s *service) attractBy(n int, keep bool, dial func() (*client, error)) *crowd {
	s.Helper()
	c := &crowd{s: s, dial: dial, keep: keep, quit: make(chan struct{}), beats: make([]atomic.Int64, n)}
	for i := range n {
		c.clients.Go(func() { c.client(i) })
	}
	c.settle()
	return c
}

func (c *crowd) client(i int) {
	var own *client
	for !isClosed(c.quit) {
		var err error
		if own == nil {
			own, err = c.dial()
		}
		var a answer
		if err == nil {
			a, err = own.ask("POST", "/echo", "here")
		}
		if err == nil && a.body != "here" {
			err = errors.New(a.body)
		}
		switch {
		case err == nil:
			c.beats[i].Add(1)
		case own == nil:
			c.mu.Lock()
			c.refused = append(c.refused, err)
			c.mu.Unlock()
		default:
			c.mu.Lock()
			c.broken = append(c.broken, err)
			c.mu.Unlock()
		}
		if own != nil && (err != nil || a.close || !c.keep || i%2 == 0) {
			_ = own.Close()
			own = nil
		}
		if c.keep || err != nil {
			<-time.After(time.Millisecond) // the pace of a client that has something else to do
		}
	}
	if own != nil {
		_ = own.Close()
	}
}

// settle waits until each client has had an answer to a request that it begins from now on.
func (c *crowd) settle() {
	c.s.Helper()
	for i := range c.beats {
		from := c.beats[i].Load()
		c.s.eventually("an answer to a client of the crowd", func() bool { return c.beats[i].Load() >= from+2 })
	}
}

// leave ends the crowd, and returns how many were refused, and how many broken.
func (c *crowd) leave() (refused, broken int) {
	close(c.quit)
	c.clients.Wait()
	return len(c.refused), len(c.broken)
}

// end ends the crowd and wants that nobody was refused, and at most that many requests broken.
func (c *crowd) end(broken int) {
	c.s.Helper()
	c.settle()
	if refused, n := c.leave(); refused > 0 || n > broken {
		c.s.Errorf("%d refused: %v; %d broken: %v", refused, c.refused, n, c.broken)
	}
}
