package drain

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/machine"
)

// slowOwner releases when it may.
type slowOwner struct{ begun, may chan struct{} }

func (o slowOwner) Acquire(context.Context, io.Reader) error { return nil }
func (o slowOwner) Release(context.Context, io.Writer) error {
	close(o.begun)
	<-o.may
	return nil
}

// willing is a child that can become the main generation.
type willing struct{ nobody }

func (willing) Release() bool { return true }

// A child without owners serves after some time without a word from here, perhaps while the owners still release. What
// they write is the loop's only when they have released: the race detector holds that.
func TestTheChildServesWhileTheOwnersRelease(t *testing.T) {
	t.Parallel()
	for range 50 {
		near, far := linkPair(t)
		sw := newSwap(3, 1, nil)
		sw.link, sw.peer, sw.child = near, &spoken, willing{}
		sw.ctx, sw.giveUp = context.WithCancel(t.Context())
		close(sw.able)
		sw.owns <- nil
		owner := slowOwner{make(chan struct{}), make(chan struct{})}
		s, _ := alone(t, machine.Swapping, func(r *runner) {
			r.swap = sw
			r.state.Swap, r.state.Owns, r.state.Child.Attempt = true, true, 1
			err := errors.Join(r.estate.owners.Add("owner", owner), r.estate.acquire(t.Context(), false))
			if err != nil {
				t.Fatal(err)
			}
		})
		s.run.post(machine.Child{Attempt: 1, Event: lifecycle.ChildReady})
		<-owner.begun
		go close(owner.may)
		s.run.post(childServes{sw, nil})
		for m := next(t, far); m.Kind != kindReport; m = next(t, far) {
			if len(m.Owned) > 0 {
				t.Errorf("%+v", m)
			}
		}
		_ = far.Close()
		s.endTest()
	}
}
