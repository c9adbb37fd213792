//go:build unix

package drain

import (
	"testing"

	"github.com/baton-go/baton/drain/internal/link"
)

// When swaps come faster than links are handed on, a link may bring another that its last reader had not come
// to: that of the oldest generation then comes last.
func TestElderLinksMayComeInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, order := range [][]int{{1, 2, 3}, {2, 1, 3}, {3, 2, 1}, {2, 3, 1}} {
		var g generations
		for _, generation := range append([]int{4}, order...) {
			near, far, err := link.Pair()
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			defer far.Close()
			g.join(near, message{Generation: generation})
		}
		for i, e := range g.older {
			if e.Generation != i+1 {
				t.Errorf("after %v, place %d is generation %d; want the oldest first", order, i, e.Generation)
			}
		}
	}
}
