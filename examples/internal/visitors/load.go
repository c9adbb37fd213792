// Package visitors is the load of bench/tour: clients that never retry, of many sorts at once.
package visitors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/drain/draintest"
)

const (
	requestTimeout = 10 * time.Second
	slowTime       = 2 * time.Second
	lateMax        = 2 * time.Second // a late sender waits up to so long between connecting and sending

	// A client that could not connect waits before it tries again, as real ones do; without it a service that is down
	// would be charged with thousands of requests a second.
	refusedPause = 100 * time.Millisecond
	// A client whose traffic goes elsewhere asks the balancer again after so long at least.
	outPause = 10 * time.Millisecond
)

// Class says which sort of client a request came from.
type Class uint8

// The classes.
const (
	KeepAlive Class = iota
	Idle
	Fresh
	Late // connected first, sent later
	Slow
	Odd
	Classes
)

// Quick classes are those whose latency says something about the service rather than about the request.
func (c Class) Quick() bool { return c <= Late }

// Kept classes hold one connection for good: one that has to be made again is a reconnect.
func (c Class) Kept() bool { return c != Fresh && c != Late }

// Mix says how many clients of each sort there are.
type Mix struct {
	Clients            int           // keep-alive POST clients
	ThinkMin, ThinkMax time.Duration // their pause between an answer and the next request
	Idle               int           // further keep-alive clients that pause for IdleThink
	IdleThink          time.Duration
	Fresh              int // new connections a second, one POST each
	Slow               int // 2-second requests at a time
	Odd                int // clients of each odd sort: pipelining, two halves, slow upload, slow download
}

// Tour is the load of the README's first command.
var Tour = Mix{Clients: 64, ThinkMax: 20 * time.Millisecond, IdleThink: 2 * time.Second, Fresh: 50, Slow: 8, Odd: 1}

// Kept is how many connections the clients keep.
func (m Mix) Kept() int { return m.Clients + m.Idle + m.Slow + 4*m.Odd }

// Load is everything that sends requests to one service. Set its fields, call Start once, and Stop at the end.
type Load struct {
	Mix
	Addr string
	// Dial, if not nil, connects to Addr within the Timeout of d.
	Dial func(d net.Dialer, addr string) (net.Conn, error)
	// May tells whether the next request may go to the service, as a balancer does. Default: it may.
	May func() bool
	// Elsewhere, if not nil, is called for each request that May sends elsewhere.
	Elsewhere func()
	// Each returns what counts the requests of one client, on the goroutine of that.
	Each func(Class) func(draintest.Result)

	ctx    context.Context
	cancel context.CancelFunc
	groups []*draintest.Load
	fresh  sync.WaitGroup
	warm   atomic.Int64 // kept connections that have had their first answer
	dialed atomic.Int64
}

// Start starts the clients.
func (l *Load) Start() {
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.group(KeepAlive, l.Clients, func(last draintest.Result) time.Duration {
		if last.Begun.IsZero() {
			return 0
		}
		return l.ThinkMin + rand.N(l.ThinkMax-l.ThinkMin+1)
	}, nil)
	l.group(Idle, l.Idle, func(last draintest.Result) time.Duration {
		if last.Begun.IsZero() { // spreads them, so that they do not come as one wave
			return rand.N(l.IdleThink + 1)
		}
		return l.IdleThink
	}, nil)
	l.group(Slow, l.Slow, func(last draintest.Result) time.Duration {
		if last.Begun.IsZero() {
			return time.Duration(last.Client) * slowTime / time.Duration(l.Slow)
		}
		return 0
	}, slowly)
	breath := func(draintest.Result) time.Duration { return rand.N(20 * time.Millisecond) }
	none := func(draintest.Result) time.Duration { return 0 }
	l.group(Odd, l.Odd, breath, pipelining)
	l.group(Odd, l.Odd, breath, inHalves)
	l.group(Odd, l.Odd, none, big(true))
	l.group(Odd, l.Odd, none, big(false))
	if l.Fresh > 0 {
		l.fresh.Go(l.newConnections)
	}
}

// asking is one request of one client, its nth.
type asking func(u *user, c *draintest.Client, n int) (draintest.Answer, error)

// group starts n clients of a class, each with a connection of its own. The default of ask is an echo.
func (l *Load) group(c Class, n int, think func(last draintest.Result) time.Duration, ask asking) {
	users := make([]*user, n)
	for i := range users {
		users[i] = &user{load: l, number: i, count: l.Each(c)}
	}
	g := &draintest.Load{Client: l.client(), Keep: n}
	g.Think = func(last draintest.Result) time.Duration {
		rest := think(last)
		goes := l.pause(rest)
		if isRefused(last.Err) {
			goes = l.pause(refusedPause)
		}
		for goes && !l.may() {
			goes = l.pause(max(rest, outPause))
		}
		return 0
	}
	if ask != nil {
		g.Ask = func(c *draintest.Client, i, n int) (draintest.Answer, error) { return ask(users[i], c, n) }
	}
	warm := make([]bool, n) // each is of the goroutine of its client
	g.Each = func(r draintest.Result) {
		users[r.Client].count(r)
		if c <= Idle && !warm[r.Client] && !isRefused(r.Err) {
			warm[r.Client] = true
			l.warm.Add(1)
		}
	}
	g.Start(l.ctx)
	l.groups = append(l.groups, g)
}

// Stop ends the load: requests under way are still answered and counted.
func (l *Load) Stop() {
	l.cancel()
	l.fresh.Wait()
	for _, g := range l.groups {
		g.Stop()
	}
}

// IsWarm reports whether every client with a connection of its own has had an answer on it.
func (l *Load) IsWarm() bool { return l.warm.Load() >= int64(l.Clients+l.Idle) }

// may is asked before each request.
func (l *Load) may() bool {
	if l.May == nil || l.May() {
		return true
	}
	if l.Elsewhere != nil {
		l.Elsewhere()
	}
	return false
}

// pause waits and reports whether the load goes on.
func (l *Load) pause(d time.Duration) bool {
	if d <= 0 {
		return l.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// client returns what each client begins as. One source address has about 28,000 ports towards the service.
func (l *Load) client() draintest.Client {
	return draintest.Client{Addr: l.Addr, Timeout: requestTimeout, Dial: func() (net.Conn, error) {
		d := net.Dialer{Timeout: requestTimeout, KeepAlive: -1}
		if n := l.dialed.Add(1); n > 15000 && runtime.GOOS == "linux" {
			d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+n/15000))}
		}
		if l.Dial != nil {
			return l.Dial(d, l.Addr)
		}
		return d.Dial("tcp", l.Addr)
	}}
}

// user is one client.
type user struct {
	load   *Load
	number int
	count  func(draintest.Result)
	body   []byte // of a big one
}

// isRefused tells of a connection that was not to be had.
func isRefused(err error) bool {
	f := (*draintest.Failure)(nil)
	return errors.As(err, &f) && f.Kind == "refused"
}

func fail(kind, format string, args ...any) error {
	return &draintest.Failure{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// slowly sends one 2-second request.
func slowly(_ *user, c *draintest.Client, _ int) (draintest.Answer, error) {
	return c.Do("GET", "/slow?d="+slowTime.String(), nil)
}

// newConnections opens so many connections a second, each for one POST; every fifth of them sends it only later.
func (l *Load) newConnections() {
	tick := time.NewTicker(time.Second / time.Duration(l.Fresh))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return
		}
		if !l.may() {
			continue
		}
		l.fresh.Go(func() { l.once(n) })
	}
}

// once is a client that connects for one request.
func (l *Load) once(n int) {
	class := Fresh
	c := l.client()
	c.Blind = true // while it waits to send, nobody may close the connection
	defer c.Close()
	r := draintest.Result{Begun: time.Now()}
	if r.Err = c.Connect(); r.Err == nil && n%5 == 4 {
		class = Late
		if !l.pause(rand.N(lateMax)) {
			return
		}
		if !l.may() { // asked before each request; this one goes elsewhere
			return
		}
		r.Begun = time.Now()
	}
	if r.Err == nil {
		r.Answer, r.Err = c.Echo("/echo", unique(nil, -1, n))
	}
	r.Took = time.Since(r.Begun)
	l.Each(class)(r)
}

// unique appends a body that no other request has.
func unique(b []byte, client, n int) []byte {
	return fmt.Appendf(b, "client %d request %d nonce %x", client, n, rand.Uint64())
}
