package drain

import (
	"context"

	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/health"
)

// pulling is a pull that has not ended.
type pulling struct {
	ctx     context.Context
	end     context.CancelFunc
	noticed <-chan struct{}
	left    <-chan struct{} // closed when Config.Leave has returned, or had its time
}

// pullAnswer is what a caller of Pull waits for, or why it can't.
type pullAnswer struct {
	noticed, over <-chan struct{}
	err           error
}

func beginPull(ctx context.Context, h *health.State, in inbox) *pulling {
	h.Pull()
	p := &pulling{noticed: h.Noticed()}
	p.ctx, p.end = context.WithCancel(ctx)
	end := p.end
	p.end = func() { h.Restore(); end() }
	go func() {
		select {
		case <-p.noticed:
			in.post(machine.PullNoticed{})
		case <-p.ctx.Done():
		}
	}()
	return p
}

// awaitBalancers waits until the balancers send nobody any more.
func (p *pulling) awaitBalancers(in inbox) {
	for _, fact := range []<-chan struct{}{p.left, p.noticed} {
		select {
		case <-fact:
		case <-in.ended:
			return
		}
	}
	in.post(machine.TrafficOver{})
}
