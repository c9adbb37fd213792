//go:build unix

package drain

import (
	"os"
	"slices"
	"testing"

	"github.com/baton-go/baton/drain/internal/link"
)

// When swaps come faster than links are handed on, a link may bring another that its last reader had not come
// to: that of the oldest generation then comes last.
func TestElderLinksMayComeInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, order := range [][]int{{1, 2, 3}, {2, 1, 3}, {3, 2, 1}, {2, 3, 1}} {
		g := generations{procs: osProcesses{}}
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

// A generation that is just promoted knows of all older ones, and tells none of them to leave before it knows which is
// the oldest: links come late, and those of generations that are gone by then end as they come.
func TestNoneIsHurriedWhileLinksAreOnTheirWay(t *testing.T) {
	t.Parallel()
	const gone = 1 << 30 // no process has this number
	self := func() (Peer, int64) { return Peer{Generation: 3, PID: os.Getpid()}, 0 }
	join := func(t *testing.T, g *generations, generation, pid int) *elder {
		near, _ := linkPair(t)
		return g.join(near, message{Generation: generation, PID: pid})
	}
	// promoted is generation 4, which generation 3 has told of 1 and 2.
	promoted := func(t *testing.T, pids ...int) *generations {
		old, g := generations{procs: osProcesses{}}, generations{procs: osProcesses{}}
		for i, pid := range pids {
			join(t, &old, i+1, pid)
		}
		var m message
		old.part(self, nil).release(&m)
		near, _ := linkPair(t)
		g.parent = newElder(near, 3, os.Getpid())
		p := g.part(self, nil)
		p.inherit(m)
		p.acquire()
		return &g
	}
	want := func(t *testing.T, g *generations, patient, room bool, told, known []int) {
		t.Helper()
		all, is := g.hurry(4, patient)
		var hurried, peers []int
		for _, e := range all {
			hurried = append(hurried, e.Generation)
		}
		for _, p := range g.peers() {
			peers = append(peers, p.Generation)
		}
		if is != room || !slices.Equal(hurried, told) || !slices.Equal(peers, known) {
			t.Errorf("room %v, generations %v told to leave, %v known; want %v, %v, %v", is, hurried, peers,
				room, told, known)
		}
	}
	t.Run("the oldest is told when its link is here", func(t *testing.T) {
		g := promoted(t, os.Getpid(), os.Getpid())
		want(t, g, true, false, nil, []int{1, 2, 3})
		g.came(2)
		join(t, g, 2, os.Getpid())
		want(t, g, true, false, nil, []int{1, 2, 3})
		g.came(1)
		join(t, g, 1, os.Getpid())
		want(t, g, true, false, []int{1}, []int{1, 2, 3})
		want(t, g, true, false, nil, []int{1, 2, 3})
	})
	t.Run("one that is gone makes room", func(t *testing.T) {
		g := promoted(t, os.Getpid(), gone)
		want(t, g, true, true, nil, []int{1, 3})
	})
	t.Run("a link that is lost", func(t *testing.T) {
		g := promoted(t, os.Getpid(), os.Getpid())
		g.came(1)
		want(t, g, true, true, nil, []int{2, 3})
	})
	t.Run("no link comes", func(t *testing.T) {
		g := promoted(t, os.Getpid(), os.Getpid())
		want(t, g, false, false, []int{3}, []int{1, 2, 3})
		g.leave(g.older[0])
		want(t, g, false, true, nil, []int{1, 2})
	})
	t.Run("the old generation is gone, and takes the links along", func(t *testing.T) {
		g := promoted(t, os.Getpid(), os.Getpid())
		g.starter = g.older[0]
		g.leave(g.starter)
		want(t, g, true, true, nil, nil)
	})
	t.Run("a version that only counts", func(t *testing.T) {
		g := generations{procs: osProcesses{}}
		g.part(self, nil).inherit(message{Older: 3})
		want(t, &g, true, false, nil, nil)
		g.came(7)
		want(t, &g, true, true, nil, nil)
	})
}
