//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

// thinkTime is what a client waits at most between an answer and its next request. Sixteen backends share the machine.
const thinkTime = 200 * time.Millisecond

// startLoad returns when each client has been answered.
func startLoad(ctx context.Context, addr string, keep, fresh int) (*draintest.Load, error) {
	l := &draintest.Load{Client: draintest.Client{Addr: addr, Timeout: flow.Patience}, Keep: keep, Fresh: fresh,
		Think: func(draintest.Result) time.Duration { return rand.N(thinkTime) }}
	l.Start(ctx)
	err := l.Settle(ctx)
	if failed := l.Counts().Failed; err == nil && len(failed) > 0 {
		err = fmt.Errorf("before anything was done, a request was lost: %w", failed[0].Err)
	}
	if err != nil {
		l.Stop()
	}
	return l, err
}
