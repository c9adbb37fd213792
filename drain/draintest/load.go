package draintest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// refusedPause keeps a service that is down from being charged with thousands of requests a second.
const refusedPause = 100 * time.Millisecond

// Load is clients that send requests until it ends. Set its fields, call Start once, and Stop at
// the end. What does not configure it may be called by any goroutine.
type Load struct {
	// Client is what each client begins as.
	Client Client
	// Keep clients keep their connection; Fresh ones make one for each request. Both are 0 by
	// default.
	Keep, Fresh int
	// Think returns how long a client rests before its next request, by the result of its last;
	// before its first request that has only the number of the client. The default is no rest, but
	// 100 ms after a connection that was refused. It may wait itself, for a balancer's word say.
	Think func(last Result) time.Duration
	// Ask sends request n, from 0, of client i, which is connected. The default POSTs a body that
	// no other request has to /echo, and wants 200 and the same body back.
	Ask func(c *Client, i, n int) (Answer, error)
	// Each, if not nil, gets each result before it is counted, on the goroutine of its client.
	Each func(Result)

	stop    context.CancelFunc
	clients sync.WaitGroup

	mu     sync.Mutex // guards what follows
	counts Counts
	ended  []int         // requests, by client
	moved  chan struct{} // closed when a result is counted; nil if nobody waits
}

// Result is one request: its client, from 0, of which those that keep their connection are the
// first.
type Result struct {
	Client int           // the number of the client
	Begun  time.Time     // before it was sent, or before a dial that failed
	Took   time.Duration // until the end of the answer, or the failure; without a dial that did not fail
	Again  bool          // a client that keeps its connection has lost it before this request
	Answer Answer        // valid in Each alone
	Err    error         // a *Failure, or what Ask returns
}

// Counts is what a Load has done so far. Fresh clients make no reconnects.
type Counts struct {
	Requests   int      // answered or failed
	Reconnects int      // connections that clients have lost and dialed again
	Failed     []Result // the requests with an error, in the order in which they failed
}

// String is one line, with further lines for the first failures.
func (n Counts) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests, %d failed, %d reconnects", n.Requests, len(n.Failed), n.Reconnects)
	for i, r := range n.Failed {
		if i == 10 {
			b.WriteString("\n  …")
			break
		}
		fmt.Fprintf(&b, "\n  client %d at %s: %v", r.Client, r.Begun.Format("15:04:05.000"), r.Err)
	}
	return b.String()
}

// Start starts the clients. They end with ctx, or at Stop; requests under way are answered and
// counted.
func (l *Load) Start(ctx context.Context) {
	stopped, stop := context.WithCancel(ctx)
	l.stop, l.ended = stop, make([]int, l.Keep+l.Fresh)
	// stopped ends a moment after ctx, in which nothing may be sent.
	goes := func(d time.Duration) bool { return rest(stopped, d) && ctx.Err() == nil }
	for i := range l.ended {
		l.clients.Go(func() { l.run(goes, i) })
	}
}

// Stop ends the load, waits for the last answers and returns the counts. To stop twice is the same.
func (l *Load) Stop() Counts {
	l.stop()
	l.clients.Wait()
	return l.Counts()
}

// Counts returns the counts so far.
func (l *Load) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// Await waits until done is true of the counts, and asks it again after each request. The error is
// ctx's cause.
func (l *Load) Await(ctx context.Context, done func(Counts) bool) error {
	for {
		l.mu.Lock()
		n := l.counts
		if l.moved == nil {
			l.moved = make(chan struct{})
		}
		moved := l.moved
		l.mu.Unlock()
		if done(n) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%w, after %v", context.Cause(ctx), n)
		}
	}
}

// Settle waits until each client has been through a whole request, answered or failed, that began
// after the call. The error is ctx's cause, with the clients that have not.
func (l *Load) Settle(ctx context.Context) error {
	ended := func() []int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.Clone(l.ended)
	}
	from, waiting := ended(), 0
	err := l.Await(ctx, func(Counts) bool {
		now := ended()
		for waiting < len(now) && now[waiting] >= from[waiting]+2 { // one may have begun before
			waiting++
		}
		return waiting == len(now)
	})
	if err != nil {
		return fmt.Errorf("client %d: %w", waiting, err)
	}
	return nil
}

func (l *Load) run(goes func(rest time.Duration) bool, i int) {
	c := l.Client
	defer c.Close()
	ask := l.Ask
	if ask == nil {
		ask = echoes()
	}
	last := Result{Client: i}
	for n := 0; goes(l.think(last)); {
		keeps, had := i < l.Keep, c.r != nil
		last = Result{Client: i, Begun: time.Now()}
		dials, err := c.connect()
		last.Again = dials && keeps && had
		if err == nil {
			last.Begun = time.Now()
			last.Answer, err = ask(&c, i, n)
			n++
		}
		last.Took, last.Err = time.Since(last.Begun), err
		if err != nil || last.Answer.Close || !keeps {
			c.Close()
		}
		if l.Each != nil {
			l.Each(last)
		}
		last.Answer = Answer{}
		l.count(last)
	}
}

func (l *Load) think(last Result) time.Duration {
	if l.Think != nil {
		return l.Think(last)
	}
	var f *Failure
	if errors.As(last.Err, &f) && f.Kind == "refused" {
		return refusedPause
	}
	return 0
}

func (l *Load) count(r Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[r.Client]++
	l.counts.Requests++
	if r.Again {
		l.counts.Reconnects++
	}
	if r.Err != nil {
		l.counts.Failed = append(l.counts.Failed, r)
	}
	if l.moved != nil {
		close(l.moved)
		l.moved = nil
	}
}

// rest waits, and tells whether the load goes on.
func rest(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// echoes is the Ask of one client for bodies that no other request has.
func echoes() func(*Client, int, int) (Answer, error) {
	var body []byte
	return func(c *Client, i, n int) (Answer, error) {
		body = fmt.Appendf(body[:0], "client %d request %d nonce %x %.*s", i, n, rand.Uint64(), rand.N(100), dots)
		a, err := c.do("POST", "/echo", body)
		if err == nil {
			err = a.Want(body)
		}
		return a, err
	}
}

var dots = strings.Repeat(".", 100)
