package drain

import (
	"slices"
	"testing"

	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/listener"
)

// An older generation whose link comes to one that is replaced already goes on to the next one, and what it had
// counted on the way is counted once.
func TestLateOlderGenerationsAreHandedOn(t *testing.T) {
	t.Parallel()
	older := func(generation int) *elder {
		l, _ := linkPair(t)
		e := newElder(l, generation, generation)
		close(e.heard)
		return e
	}
	near, far5 := linkPair(t)
	r := &runner{inbox: newInbox(), state: machine.State{Phase: machine.Draining}, swap: &swap{link: near}}
	parent, late := older(3), older(1)
	late.base = listener.Counts{Moved: 7}
	r.others.older = []*elder{parent}
	owns := r.others.part(func() (Peer, int64) { return Peer{}, 0 }, nil)
	owns.release(&message{})
	r.others.older = append(r.others.older, late)
	owns.yield()
	if late.base.Moved != 7 {
		t.Errorf("%+v is in the totals of an older generation that came late; want 7", late.base)
	}
	r.others.older = []*elder{parent}
	give := r.handOn()
	r.others.older = append(r.others.older, late)
	go func() {
		give()
		_ = near.Close()
		close(r.inbox.events)
	}()
	go func() {
		for e := range r.inbox.events {
			r.answer(e)
		}
	}()
	var got []int
	for {
		var m message
		files, err := far5.Receive(&m)
		if closeAll(files); err != nil {
			break
		}
		if m.Kind == kindElder {
			got = append(got, m.Generation)
		}
	}
	if !slices.Equal(got, []int{3, 1}) {
		t.Errorf("generations %v are handed on; want 3 and 1", got)
	}
}
