//go:build unix

package drain

import (
	"os"
	"testing"

	"github.com/baton-go/baton/drain/internal/link"
)

// When swaps come faster than links are handed on, a link may bring another that its last reader had not come
// to: that of the oldest generation then comes last.
func TestElderLinksMayComeInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, order := range [][]int{{1, 2, 3}, {2, 1, 3}, {3, 2, 1}, {2, 3, 1}} {
		s := &Service{ended: make(chan struct{}), phase: Ready}
		close(s.ended)
		parent, far, err := link.Pair()
		if err != nil {
			t.Fatal(err)
		}
		defer parent.Close()
		defer far.Close()
		s.older = []*elder{newElder(parent, 4, 40)}
		for _, generation := range order {
			near, far, err := link.Pair()
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			s.fromElder(s.older[0], message{Kind: kindElder, Generation: generation}, []*os.File{far})
		}
		for i, e := range s.older {
			if e.Generation != i+1 {
				t.Errorf("after %v, place %d is generation %d; want the oldest first", order, i, e.Generation)
			}
		}
	}
}
