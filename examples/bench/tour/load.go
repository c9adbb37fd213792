//go:build unix

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
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
	wg     sync.WaitGroup
	warm   atomic.Int64 // kept connections that have had their first answer
	dialed atomic.Int64
}

func newLoad(cfg config, addr string, st *stats, may func() bool) *load {
	l := &load{cfg: cfg, addr: addr, stats: st, may: may}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *load) start() {
	spawn := func(n int, f func(i int)) {
		for i := range n {
			l.wg.Add(1)
			go func() {
				defer l.wg.Done()
				f(i)
			}()
		}
	}
	spawn(l.cfg.clients, func(i int) { l.keep(i, keepalive, l.cfg.thinkMin, l.cfg.thinkMax) })
	spawn(l.cfg.idle, func(i int) { l.keep(i, idle, l.cfg.idleThink, l.cfg.idleThink) })
	spawn(l.cfg.slow, l.slowly)
	spawn(l.cfg.odd, l.pipelining)
	spawn(l.cfg.odd, l.inHalves)
	spawn(l.cfg.odd, func(i int) { l.big(i, true) })
	spawn(l.cfg.odd, func(i int) { l.big(i, false) })
	if l.cfg.fresh > 0 {
		spawn(1, func(int) { l.newConnections() })
	}
}

// stop ends the load: requests under way are still answered and counted.
func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
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

// client returns a client with the next source address: one address has about 28,000 ports towards the service.
func (l *load) client() *client {
	c := &client{addr: l.addr, timeout: requestTimeout}
	if n := l.dialed.Add(1); n > 15000 && runtime.GOOS == "linux" {
		c.local = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+n/15000))}
	}
	return c
}

// user is one client with its statistics.
type user struct {
	*client
	load    *load
	class   class
	rec     *recorder
	had     bool // had a connection before
	lastPid int
}

func (l *load) user(c class, rec *recorder) *user {
	return &user{client: l.client(), load: l, class: c, rec: rec}
}

// ready waits until the balancer lets the next request go to the node, and makes the connection if there is none.
// It reports false when the load is over, or when there is no connection to be had (which is a failed request).
func (u *user) ready(think time.Duration) bool {
	l := u.load
	for !l.may() {
		l.stats.sentElsewhere()
		if !l.pause(max(think, outPause)) {
			return false
		}
	}
	if l.ctx.Err() != nil {
		return false
	}
	if u.conn != nil {
		closed, err := u.closedAtRest()
		if err != nil {
			u.count(l.stats.now(), answer{}, err)
		}
		if closed {
			u.close()
		}
	}
	if u.conn != nil {
		return true
	}
	if u.had && u.class.kept() {
		l.stats.reconnected(u.class)
	}
	begun := l.stats.now()
	if err := u.dial(context.Background()); err != nil {
		u.count(begun, answer{}, err)
		l.pause(refusedPause)
		return false
	}
	u.had = true
	return true
}

// count writes the outcome of a request down, and drops a connection that is of no more use.
func (u *user) count(begun time.Duration, a answer, err error) {
	st := u.load.stats
	end := st.now()
	if a.pid != 0 && a.pid != u.lastPid {
		u.lastPid = a.pid
		st.answered(a.pid, a.generation, end)
	}
	if err != nil {
		st.example(fmt.Sprintf("%v client at %v: %v", classNames[u.class], end.Round(time.Millisecond), err))
	}
	u.rec.add(record{end: end, dur: end - begun, pid: int32(a.pid), class: u.class, outcome: outcomeOf(err)})
	if err != nil || a.close {
		u.close()
	}
}

// keep is a keep-alive client: one connection, one unique POST after the other.
func (l *load) keep(i int, c class, thinkMin, thinkMax time.Duration) {
	u := l.user(c, l.stats.recorder())
	defer u.close()
	if c == idle && !l.pause(rand.N(thinkMax+1)) { // spreads them, so that they do not come as one wave
		return
	}
	var request, body []byte
	for n := 0; ; n++ {
		think := thinkMin + rand.N(thinkMax-thinkMin+1)
		if n > 0 && !l.pause(think) {
			return
		}
		if !u.ready(think) {
			if l.ctx.Err() != nil {
				return
			}
			continue
		}
		body = unique(body[:0], i, n)
		request = appendPost(request[:0], body)
		begun := l.stats.now()
		a, err := u.roundTrip(request)
		if err == nil {
			err = a.expect(body)
		}
		u.count(begun, a, err)
		if n == 0 {
			l.warm.Add(1)
		}
	}
}

// unique appends a body that no other request has.
func unique(b []byte, client, n int) []byte {
	b = append(b, "client "...)
	b = strconv.AppendInt(b, int64(client), 10)
	b = append(b, " request "...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, " nonce "...)
	b = strconv.AppendUint(b, rand.Uint64(), 16)
	for range rand.N(100) {
		b = append(b, '.')
	}
	return b
}

// slowly sends one 2-second request after the other.
func (l *load) slowly(i int) {
	u := l.user(slow, l.stats.recorder())
	defer u.close()
	if !l.pause(time.Duration(i) * slowTime / time.Duration(l.cfg.slow)) {
		return
	}
	request := fmt.Appendf(nil, "GET /slow?d=%v HTTP/1.1\r\nHost: tour\r\n\r\n", slowTime)
	for l.ctx.Err() == nil {
		if !u.ready(0) {
			continue
		}
		begun := l.stats.now()
		a, err := u.roundTrip(request)
		if err == nil && a.status != 200 {
			err = fail(status, "status %d, %.80q", a.status, a.body)
		}
		u.count(begun, a, err)
	}
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
		l.wg.Add(1)
		go func() {
			defer l.wg.Done()
			l.once(n, rec)
		}()
	}
}

// once is a client that connects for one request.
func (l *load) once(n int, rec *recorder) {
	u := l.user(fresh, rec)
	defer u.close()
	begun := l.stats.now()
	if err := u.dial(context.Background()); err != nil {
		u.count(begun, answer{}, err)
		return
	}
	if n%5 == 4 {
		u.class = late
		if !l.pause(rand.N(lateMax)) {
			return
		}
		if !l.may() { // asked before each request; this one goes elsewhere
			l.stats.sentElsewhere()
			return
		}
		begun = l.stats.now()
	}
	body := unique(nil, -1, n)
	a, err := u.roundTrip(appendPost(nil, body))
	if err == nil {
		err = a.expect(body)
	}
	u.count(begun, a, err)
}
