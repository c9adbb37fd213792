package drain

import (
	"context"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/health"
)

// pulling is a pull that has not ended.
type pulling struct {
	ctx     context.Context
	end     context.CancelFunc
	noticed <-chan struct{}
	said    chan struct{}   // closed when the machine has got PullNoticed
	left    <-chan struct{} // closed when Config.Leave has returned, or had its time
	leaveBy time.Time       // the deadline of Config.Leave
}

// pullAnswer is what a caller of Pull waits for, or why it can't.
type pullAnswer struct {
	noticed, over <-chan struct{}
	err           error
}

type pullAsked chan pullAnswer

// restoreAsked is answered by an error where this generation leaves.
type restoreAsked chan error

var unnoticed = map[health.Outcome]machine.Unnoticed{health.Overdue: machine.Overdue, health.Unasked: machine.Unasked}

func beginPull(ctx context.Context, h *health.State, in inbox) *pulling {
	h.Pull()
	p := &pulling{noticed: h.Noticed(), said: make(chan struct{})}
	p.ctx, p.end = context.WithCancel(ctx)
	end := p.end
	p.end = func() { h.Restore(); end() }
	go func() {
		select {
		case <-p.noticed:
			in.post(machine.PullNoticed{Why: unnoticed[h.Outcome()]})
			close(p.said)
		case <-p.ctx.Done():
		}
	}()
	return p
}

// awaitBalancers waits until the balancers send no requests any more.
func (p *pulling) awaitBalancers(in inbox) {
	for _, fact := range []<-chan struct{}{p.left, p.said} {
		select {
		case <-fact:
		case <-in.ended:
			return
		}
	}
	in.post(machine.TrafficOver{})
}
