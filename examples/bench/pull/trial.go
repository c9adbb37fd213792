//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// cell is how a balancer is set: it takes a node out after fall failing probes, interval apart.
type cell struct {
	interval time.Duration
	fall     int
}

func (c cell) String() string { return fmt.Sprintf("%g s × %d", c.interval.Seconds(), c.fall) }

// eject is the longest that it takes the balancer to notice a pull.
func (c cell) eject() time.Duration { return time.Duration(c.fall) * c.interval }

// way is how the node is taken out and stopped.
type way string

const (
	probeAware way = "drain" // SIGTERM; the service finds out by itself
	sleeping   way = "sleep" // kill -USR2; sleep 5; kill
)

// trial is one way in one cell: a node under test, and what happened to it.
type trial struct {
	cell
	way   way
	cfg   config
	index int
	host  string
	node  *node
	say   func(string, ...any)
	result
}

// result is what a trial has found. Times are from the pull on.
type result struct {
	out      time.Duration // HAProxy took the node out
	quit     time.Duration // the node stopped accepting: the service had noticed, or the script had slept
	gone     time.Duration // the process ended
	requests int           // of the whole trial
	lost     int
}

func (t *trial) name() string {
	return fmt.Sprintf("%s-%v-x%d", t.way, t.interval, t.fall)
}
func (t *trial) addr() string { return t.host + ":" + strconv.Itoa(8000+t.index) } // of the node
func (t *trial) site() string { return t.host + ":" + strconv.Itoa(9000+t.index) } // of the balancer

// flags are the service's. Both ways run the same service with the same polite drain, and differ in the wait alone: the
// script's own sleep is the wait there, so that the service must not wait for anybody. A busy HAProxy probes
// late, and the bound is not to be what ends the other one.
func (t *trial) flags() []string {
	if t.way == sleeping {
		return []string{"-pull-max", "1ns"}
	}
	return []string{"-failures", strconv.Itoa(t.fall), "-pull-max", (t.eject() + 10*t.interval).String()}
}

// run takes the node out and stops it, just after a probe: a balancer then needs its whole interval × fall, which is
// when a fixed sleep is shortest.
func (t *trial) run(ctx context.Context, proxy *balancer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute+20*t.interval+2*t.cfg.sleep, errLong)
	defer cancel()
	load, err := startLoad(ctx, t.site(), t.cfg.keep, t.cfg.fresh)
	if err != nil {
		return err
	}
	defer load.Stop()
	// While so many processes start, the probes of the quickest come unevenly, and few gaps are all that is known.
	if err := rest(ctx, t.cfg.slowest()); err != nil {
		return err
	}
	learned, err := t.node.probed(ctx)
	if err != nil {
		return err
	}

	begun := time.Now()
	t.say("%v, %s: pulled; the interval that the service has learned is %.3f s", t.cell, t.way, learned.Seconds())
	quit, err := t.takeOut(ctx, begun)
	if err != nil {
		return err
	}
	out, err := proxy.takenOut(ctx, t.name())
	if err != nil {
		return err
	}
	if err := t.node.left(ctx); err != nil {
		return err
	}
	gone := time.Now()
	// Nobody may come any more, and a little more load shows whether somebody does.
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	n := load.Stop()
	for _, r := range n.Failed {
		if r.Begun.Before(begun) {
			return fmt.Errorf("a request was lost before the pull: %w", r.Err)
		}
	}
	t.result = result{out: out.Sub(begun), quit: quit.Sub(begun), gone: gone.Sub(begun), requests: n.Requests,
		lost: len(n.Failed)}
	t.say("%v, %s: HAProxy took it out after %.3f s, it stopped accepting after %.3f s, %d of %d requests lost",
		t.cell, t.way, t.out.Seconds(), t.quit.Seconds(), t.lost, t.requests)
	if t.lost > 0 && t.cfg.verbose {
		t.say("  the first, sent at %s: %v", n.Failed[0].Begun.Format("15:04:05.000"), n.Failed[0].Err)
	}
	return nil
}

// takeOut returns when the node stopped accepting.
func (t *trial) takeOut(ctx context.Context, begun time.Time) (time.Time, error) {
	if t.way == probeAware {
		if err := t.node.signal(syscall.SIGTERM); err != nil {
			return time.Time{}, err
		}
		return t.node.event(ctx, "kind=pull-noticed", "kind=draining")
	}
	if err := t.node.signal(syscall.SIGUSR2); err != nil {
		return time.Time{}, err
	}
	if err := rest(ctx, time.Until(begun.Add(t.cfg.sleep))); err != nil {
		return time.Time{}, err
	}
	quit := time.Now()
	return quit, t.node.signal(syscall.SIGTERM)
}
