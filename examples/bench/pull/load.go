//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// thinkTime is what a client waits at most between an answer and its next request. Sixteen backends share the machine.
const thinkTime = 200 * time.Millisecond

// load is clients that POST and never retry.
type load struct {
	addr string
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex // guards what follows
	requests int
	failed   []failure
}

// failure is a request that was lost.
type failure struct {
	sent time.Time
	err  error
}

func (f failure) Error() string {
	return fmt.Sprintf("sent at %s: %v", f.sent.Format("15:04:05.000"), f.err)
}

// startLoad returns when each client has been answered.
func startLoad(ctx context.Context, addr string, keep, fresh int) (*load, error) {
	l := &load{addr: addr}
	ctx, l.stop = context.WithCancel(ctx)
	for i := range keep + fresh {
		l.wg.Go(func() { l.ask(ctx, i < keep) })
	}
	for l.count() < 2*(keep+fresh) {
		if err := rest(ctx, 10*time.Millisecond); err != nil {
			l.end()
			return nil, err
		}
	}
	if _, failed := l.soFar(); len(failed) > 0 {
		l.end()
		return nil, fmt.Errorf("before anything was done, a request was lost: %w", failed[0])
	}
	return l, nil
}

func (l *load) ask(ctx context.Context, keep bool) {
	c := &flow.Client{Host: "pull", Dial: func() (net.Conn, error) {
		return net.DialTimeout("tcp", l.addr,
			flow.Patience)
	}}
	defer c.Close()
	body := bytes.Repeat([]byte("baton"), 20)
	for rest(ctx, rand.N(thinkTime)) == nil {
		sent := time.Now()
		_, answer, err := c.Do("POST", "/echo", body)
		if err == nil && !bytes.Equal(answer, body) {
			err = fmt.Errorf("another body comes back: %q", answer)
		}
		l.mu.Lock()
		l.requests++
		if err != nil {
			l.failed = append(l.failed, failure{sent, err})
		}
		l.mu.Unlock()
		if !keep {
			c.Close()
		}
	}
}

func (l *load) count() int {
	requests, _ := l.soFar()
	return requests
}

// soFar returns the counts so far.
func (l *load) soFar() (requests int, failed []failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests, l.failed
}

// end waits for the answers that are still to come, and returns the counts.
func (l *load) end() (requests int, failed []failure) {
	l.stop()
	l.wg.Wait()
	return l.soFar()
}
