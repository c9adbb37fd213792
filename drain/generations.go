package drain

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/baton-go/baton/drain/internal/forward"
	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/listener"
)

// generations are the others of the service: the one that has started this, and older ones.
type generations struct {
	procs   processes
	starter *elder    // has started this one; nil in generation 1, and where the starter is not of this library
	parent  *elder    // the same, until it is one of older, or has ended
	older   []*elder  // the oldest first
	coming  []Peer    // older ones whose links are on their way here; those that were only counted have no number
	exiting []int     // pids of older ones whose links have ended
	look    time.Time // when to look for those that do not exit, at the earliest
	holders []holder  // of functions of Lead, besides these
	past    Totals    // without this generation's counts, and without what older ones have counted since elder.base

	told  *Totals                    // the totals that were sent to the next generation; nil until then
	bases map[*elder]listener.Counts // the counts of older generations that told includes
	ended []*elder                   // those of older that ended after told was sent: the next one removes them
}

// part hands on the older generations and the totals. Self reports this generation to the next one. Back is called for
// each older generation that ended after release, if the swap is taken back.
func (g *generations) part(self func() (p Peer, dropped int64), back func(*elder)) part {
	return part{
		inherit: func(m message) {
			m.take(comingPart, &g.coming) // older versions only count them
			g.coming = append(g.coming, make([]Peer, max(0, min(m.Older, 1<<16)-len(g.coming)))...)
			g.importTotals(m)
		},
		acquire: func() {
			if g.parent != nil {
				g.older = append(g.older, g.parent)
				g.parent = nil
			}
		},
		release: func(m *message) {
			m.Older = len(g.older) + len(g.coming)
			_ = m.give(comingPart, g.brief())
			m.Holders = g.allHolders()
			g.exportTotals(m, self)
		},
		regain: func() {
			ended := g.ended
			g.told, g.bases, g.ended = nil, nil, nil
			for _, e := range ended {
				back(e)
			}
		},
		yield: func() {
			for e, base := range g.bases { // one that has come since is not in the totals
				e.base = base
			}
			g.told.Swaps++
		},
	}
}

// comingPart is the name of the list of older generations that goes to the next one before their links do.
const comingPart = "coming"

// brief is that list: peers, as far as a message has room for them.
func (g *generations) brief() []Peer {
	all := g.peers()
	all = all[:min(len(all), 32)]
	for i := range all {
		all[i].Leads = nil // they go as holders
	}
	return all
}

// peers are the older generations that live, the oldest first, whether their links are here or on their way.
func (g *generations) peers() (all []Peer) {
	for _, e := range g.older {
		all = append(all, e.Peer)
	}
	for _, p := range g.coming {
		if g.procs.alive(p.PID) {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b Peer) int { return cmp.Compare(a.Generation, b.Generation) })
	return all
}

// came is told that the link of a generation has come, or is lost.
func (g *generations) came(generation int) {
	i := slices.IndexFunc(g.coming, func(p Peer) bool { return p.Generation == generation || p.Generation == 0 })
	if i >= 0 {
		g.coming = slices.Delete(g.coming, i, i+1)
	}
}

// elder is an older generation that lives.
type elder struct {
	Peer                  // as it last said
	base  listener.Counts // what of Open is in generations.past
	link  *link.Link
	peer  *protocol     // of a parent: what it speaks
	heard chan struct{} // closed when hear has returned: nothing reads the link here any more

	claims claims

	requests []*forward.Link // hear's: what it has read and this generation serves

	named bool      // it has not exited in time, as the log says
	asked time.Time // when its process was sent SIGTERM
}

func newElder(l *link.Link, generation, pid int) *elder {
	return &elder{Peer: Peer{Generation: generation, PID: pid}, link: l, heard: make(chan struct{})}
}

// send tells it something, without waiting. One that is gone needs no telling.
func (e *elder) send(m message) {
	if e != nil {
		_ = e.link.Post(m)
	}
}

// tell is send, but waits until it is said: for the last words.
func (e *elder) tell(m message) {
	if e != nil {
		_ = e.link.Send(m)
	}
}

// heed takes what an elder says of itself, or the one that has handed it on.
func (e *elder) heed(p *Peer) {
	if p == nil { // a version that does not report
		return
	}
	told := *p
	told.Generation, told.PID = e.Generation, e.PID
	told.Hurried = told.Hurried || e.Hurried // it may not have come to that yet
	e.Peer = told
}

// join takes the link to an older generation, that m brings.
func (g *generations) join(l *link.Link, m message) *elder {
	older := newElder(l, m.Generation, m.PID)
	older.Phase = Draining
	older.heed(m.Report)
	g.dropHolder(older.PID) // its link tells more
	if m.Base != nil {
		older.base = *m.Base
	}
	// Usually the oldest comes first; but not where swaps come faster than links are handed on.
	i, _ := slices.BinarySearchFunc(g.older, m.Generation,
		func(e *elder, n int) int { return cmp.Compare(e.Generation, n) })
	g.older = slices.Insert(g.older, i, older)
	return older
}

// leave takes leave of an older generation whose link has ended, and tells whether e is one. Its process may take a
// moment longer.
func (g *generations) leave(e *elder) bool {
	if e == g.starter {
		g.coming = nil // it has sent those that it could
	}
	if e == g.parent {
		g.keepHolder(e)
		g.parent = nil
		return false
	}
	i := slices.Index(g.older, e)
	if i < 0 {
		return false
	}
	if g.bases != nil { // what it has counted since then reaches the next one with its link
		g.ended = append(g.ended, e)
		return false
	}
	g.older = slices.Delete(g.older, i, i+1)
	g.past.add(e.Open, e.base)
	_ = e.link.Close()
	g.exiting = append(slices.DeleteFunc(g.exiting, func(pid int) bool { return !g.procs.alive(pid) }), e.PID)
	g.keepHolder(e)
	return true
}

// olderAsked asks for those that are to be handed on.
type olderAsked chan []*elder

// handOver gives the older ones away.
func (g *generations) handOver() (older []*elder) {
	older, g.older = g.older, nil
	return older
}

// hurry tells the oldest to leave, so many that no more than most live when one more is started. It tells which
// have not been told before, and whether one more can be started now. Where it is patient, it tells none while links
// are on their way: they may be those of the oldest, or of generations that are gone.
func (g *generations) hurry(most int, patient bool) (told []*elder, room bool) {
	g.coming = slices.DeleteFunc(g.coming, func(p Peer) bool { return p.PID > 0 && !g.procs.alive(p.PID) })
	excess := len(g.older) + len(g.coming) + 2 - most
	if patient && len(g.coming) > 0 {
		return nil, excess <= 0
	}
	for _, e := range g.older[:min(max(0, excess), len(g.older))] {
		switch {
		case e.Phase == Stopped:
			if e.end(g.procs) {
				told = append(told, e)
			}
		case !e.Hurried:
			e.Hurried = true
			e.send(message{Kind: kindHurry})
			told = append(told, e)
		}
	}
	return told, excess <= 0
}

func (g *generations) names() string {
	var names []string
	for _, o := range g.older {
		names = append(names, o.String())
	}
	return strings.Join(names, ", ")
}

// links are those that something may still have to go out by.
func (g *generations) links() (all []*link.Link) {
	if g.parent != nil {
		all = append(all, g.parent.link)
	}
	for _, e := range g.older {
		all = append(all, e.link)
	}
	return all
}

// awaitExits waits for processes whose links have ended: they may take a moment longer.
func awaitExits(ctx context.Context, all processes, pids []int) {
	for until := time.Now().Add(lastWords); ctx.Err() == nil && time.Now().Before(until) &&
		slices.ContainsFunc(pids, all.alive); {
		time.Sleep(time.Millisecond)
	}
}
