//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strconv"
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

// load is everything that sends requests to one service.
type load struct {
	cfg   config
	addr  string
	stats *stats
	may   func() bool // the balancer: may the next request go to the node?

	ctx    context.Context
	cancel context.CancelFunc
	groups []*draintest.Load
	fresh  sync.WaitGroup
	warm   atomic.Int64 // kept connections that have had their first answer
	dialed atomic.Int64
}

func newLoad(cfg config, addr string, st *stats, may func() bool) *load {
	l := &load{cfg: cfg, addr: addr, stats: st, may: may}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *load) start() {
	l.group(keepalive, l.cfg.clients, func(last draintest.Result) time.Duration {
		if last.Begun.IsZero() {
			return 0
		}
		return l.cfg.thinkMin + rand.N(l.cfg.thinkMax-l.cfg.thinkMin+1)
	}, nil)
	l.group(idle, l.cfg.idle, func(last draintest.Result) time.Duration {
		if last.Begun.IsZero() { // spreads them, so that they do not come as one wave
			return rand.N(l.cfg.idleThink + 1)
		}
		return l.cfg.idleThink
	}, nil)
	l.group(slow, l.cfg.slow, func(last draintest.Result) time.Duration {
		if last.Begun.IsZero() {
			return time.Duration(last.Client) * slowTime / time.Duration(l.cfg.slow)
		}
		return 0
	}, slowly)
	breath := func(draintest.Result) time.Duration { return rand.N(20 * time.Millisecond) }
	none := func(draintest.Result) time.Duration { return 0 }
	l.group(odd, l.cfg.odd, breath, pipelining)
	l.group(odd, l.cfg.odd, breath, inHalves)
	l.group(odd, l.cfg.odd, none, big(true))
	l.group(odd, l.cfg.odd, none, big(false))
	if l.cfg.fresh > 0 {
		l.fresh.Go(l.newConnections)
	}
}

// asking is one request of one client, its nth.
type asking func(u *user, c *draintest.Client, n int) (draintest.Answer, error)

// group starts n clients of a class, each with a connection of its own. The default of ask is an echo.
func (l *load) group(c class, n int, think func(last draintest.Result) time.Duration, ask asking) {
	users := make([]*user, n)
	for i := range users {
		users[i] = &user{load: l, number: i, class: c, rec: l.stats.recorder()}
	}
	g := &draintest.Load{Client: l.client(), Keep: n}
	g.Think = func(last draintest.Result) time.Duration {
		rest := think(last)
		goes := l.pause(rest)
		if outcomeOf(last.Err) == refused {
			goes = l.pause(refusedPause)
		}
		for goes && !l.may() {
			l.stats.sentElsewhere()
			goes = l.pause(max(rest, outPause))
		}
		return 0
	}
	if ask != nil {
		g.Ask = func(c *draintest.Client, i, n int) (draintest.Answer, error) { return ask(users[i], c, n) }
	}
	g.Each = func(r draintest.Result) { users[r.Client].count(r) }
	g.Start(l.ctx)
	l.groups = append(l.groups, g)
}

// stop ends the load: requests under way are still answered and counted.
func (l *load) stop() {
	l.cancel()
	l.fresh.Wait()
	for _, g := range l.groups {
		g.Stop()
	}
}

// isWarm reports whether every client with a connection of its own has had an answer on it.
func (l *load) isWarm() bool { return l.warm.Load() >= int64(l.cfg.clients+l.cfg.idle) }

// pause waits and reports whether the load goes on.
func (l *load) pause(d time.Duration) bool {
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
func (l *load) client() draintest.Client {
	return draintest.Client{Addr: l.addr, Timeout: requestTimeout, Dial: func() (net.Conn, error) {
		d := net.Dialer{Timeout: requestTimeout, KeepAlive: -1}
		if n := l.dialed.Add(1); n > 15000 && runtime.GOOS == "linux" {
			d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+n/15000))}
		}
		return l.cfg.secure.dial(d, l.addr)
	}}
}

// user is what is known of one client.
type user struct {
	load    *load
	number  int
	class   class
	rec     *recorder
	warm    bool // has had an answer
	lastPid int
	body    []byte // of a big one
}

// count writes the outcome of a request down.
func (u *user) count(r draintest.Result) {
	st := u.load.stats
	begun := r.Begun.Sub(st.t0)
	end := begun + r.Took
	if r.Again {
		st.reconnected(u.class, begun)
	}
	pid, _ := strconv.Atoi(r.Answer.Header.Get("X-Pid"))
	if pid != 0 && pid != u.lastPid {
		u.lastPid = pid
		generation, _ := strconv.Atoi(r.Answer.Header.Get("X-Generation"))
		st.answered(pid, generation, end)
	}
	how := outcomeOf(r.Err)
	if how != ok {
		st.example(fmt.Sprintf("%v client at %v: %v", classNames[u.class], end.Round(time.Millisecond), r.Err))
	}
	u.rec.add(record{end: end, dur: r.Took, pid: int32(pid), class: u.class, outcome: how})
	if u.class <= idle && !u.warm && how != refused {
		u.warm = true
		u.load.warm.Add(1)
	}
}

// outcomeOf says what a request's error counts as.
func outcomeOf(err error) outcome {
	if err == nil {
		return ok
	}
	if f := (*draintest.Failure)(nil); errors.As(err, &f) {
		if o := slices.Index(outcomeNames[:], f.Kind); o >= 0 {
			return outcome(o)
		}
	}
	return other
}

func fail(o outcome, format string, args ...any) error {
	return &draintest.Failure{Kind: outcomeNames[o], Err: fmt.Errorf(format, args...)}
}

// slowly sends one 2-second request.
func slowly(_ *user, c *draintest.Client, _ int) (draintest.Answer, error) {
	return c.Do("GET", "/slow?d="+slowTime.String(), nil)
}

// newConnections opens so many connections a second, each for one POST; every fifth of them sends it only later.
func (l *load) newConnections() {
	rec := l.stats.recorder()
	tick := time.NewTicker(time.Second / time.Duration(l.cfg.fresh))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return
		}
		if !l.may() {
			l.stats.sentElsewhere()
			continue
		}
		l.fresh.Go(func() { l.once(n, rec) })
	}
}

// once is a client that connects for one request.
func (l *load) once(n int, rec *recorder) {
	u := &user{load: l, class: fresh, rec: rec}
	c := l.client()
	c.Blind = true // while it waits to send, nobody may close the connection
	defer c.Close()
	r := draintest.Result{Begun: time.Now()}
	if r.Err = c.Connect(); r.Err == nil && n%5 == 4 {
		u.class = late
		if !l.pause(rand.N(lateMax)) {
			return
		}
		if !l.may() { // asked before each request; this one goes elsewhere
			l.stats.sentElsewhere()
			return
		}
		r.Begun = time.Now()
	}
	if r.Err == nil {
		r.Answer, r.Err = c.Echo("/echo", unique(nil, -1, n))
	}
	r.Took = time.Since(r.Begun)
	u.count(r)
}

// unique appends a body that no other request has.
func unique(b []byte, client, n int) []byte {
	return fmt.Appendf(b, "client %d request %d nonce %x", client, n, rand.Uint64())
}
