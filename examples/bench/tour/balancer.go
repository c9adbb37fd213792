//go:build unix

package main

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/drain/draintest"
)

// balancer is a load balancer with one node. It probes /ping, each time on a new connection, and says whether load
// may go to the node. It knows nothing of the service but the answers to its probes.
type balancer struct {
	addr       string
	secure     *security
	interval   time.Duration
	timeout    time.Duration
	fall, rise int // probes in a row that take the node out, and bring it back
	changed    func(in bool)

	in     atomic.Bool
	begun  bool
	streak int // probes in a row that speak against the present state
}

func newBalancer(addr string, secure *security, changed func(in bool)) *balancer {
	return &balancer{
		addr: addr, secure: secure,
		interval: time.Second, timeout: time.Second, fall: 3, rise: 1,
		changed: changed,
	}
}

// run probes until the context ends.
func (b *balancer) run(ctx context.Context) {
	tick := time.NewTicker(b.interval)
	defer tick.Stop()
	for {
		good := b.probe()
		if ctx.Err() != nil {
			return
		}
		b.observe(good)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// observe counts one probe. Like most balancers it believes the first one it makes.
func (b *balancer) observe(good bool) {
	in := b.in.Load()
	if good == in {
		b.streak = 0
		b.begun = true
		return
	}
	b.streak++
	need := b.fall
	if good {
		need = b.rise
	}
	if !b.begun {
		need = 1
	}
	b.begun = true
	if b.streak < need {
		return
	}
	b.streak = 0
	b.in.Store(good)
	if b.changed != nil {
		b.changed(good)
	}
}

func (b *balancer) probe() bool {
	c := draintest.Client{Addr: b.addr, Timeout: b.timeout, Dial: func() (net.Conn, error) {
		return b.secure.dial(net.Dialer{Timeout: b.timeout}, b.addr)
	}}
	defer c.Close()
	const probe = "GET /ping HTTP/1.1\r\nHost: tour\r\nUser-Agent: tour-balancer\r\nConnection: close\r\n\r\n"
	if c.Connect() != nil || c.Send([]byte(probe)) != nil {
		return false
	}
	a, err := c.Receive(nil)
	return err == nil && a.Status == 200
}
