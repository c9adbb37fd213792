package drain

import (
	"context"
	"reflect"
	"time"

	"github.com/baton-go/baton/listener"
)

// reporter tells the main generation how far this one is with its drain. Nil: another one is not the main one yet.
type reporter struct {
	out  chan Peer     // closed by close
	sent chan struct{} // closed when all of out is
	told Peer
	next *time.Timer
}

// reportDue: a second has passed since the last report.
type reportDue struct{}

// beginReports reports each second in which something has changed: see due. Told was reported.
func beginReports(in inbox, told Peer, send func(Peer)) *reporter {
	r := &reporter{out: make(chan Peer, 1), sent: make(chan struct{}), told: told}
	go func() {
		defer close(r.sent)
		for p := range r.out { // to its end, also when nobody hears any more
			send(p)
		}
	}()
	r.next = time.AfterFunc(reportBusy, func() { in.post(reportDue{}) })
	return r
}

func (r *reporter) due(now Peer) {
	r.tell(now)
	r.next.Reset(reportBusy)
}

// tell does not wait for a main generation that does not read, such as one that is halted: the
// newest report takes the place of one that waits. Leads are said again each time: the main
// generation that has heard of them may be one that does not know what they are, and the next one
// may.
func (r *reporter) tell(p Peer) {
	if reflect.DeepEqual(p, r.told) && len(p.Leads) == 0 {
		return
	}
	select {
	case <-r.out:
	default:
	}
	r.out <- p // there is room: the loop alone puts something there
	r.told = p
}

// close sends the last report, from which the main generation has what this one has counted. It does not wait for long.
func (r *reporter) close(last Peer) {
	if r == nil {
		return
	}
	r.next.Stop()
	late, done := context.WithTimeout(context.Background(), lastWords)
	defer done()
	select {
	case r.out <- last:
	case <-late.Done():
	}
	close(r.out)
	select {
	case <-r.sent:
	case <-late.Done():
	}
}

// total is what all generations have counted, as far as this one knows. Here is what this one has. It never says more
// than the next one will: what is counted here after told reaches that one later, by report.
func (g *generations) total(here listener.Counts, dropped int64) Totals {
	if g.told != nil {
		return *g.told
	}
	t := g.past
	t.add(here, listener.Counts{})
	t.LogDropped += dropped
	for _, e := range g.older {
		t.add(e.Open, e.base)
	}
	return t
}

// add adds what has been counted since base, which is in t already.
func (t *Totals) add(now, base listener.Counts) {
	t.Adopted += now.Adopted - base.Adopted
	t.Moved += now.Moved - base.Moved
	t.Aged += now.Aged - base.Aged
	t.Lost += now.Lost - base.Lost
	t.CutOff += now.CutOff - base.CutOff
	t.Part += now.Part - base.Part
	t.Junk += now.Junk - base.Junk
	t.Requests += now.Requests - base.Requests
	t.Aside += now.Aside - base.Aside
}

// exportTotals makes m carry what the next generation goes on counting from: the totals, and what of
// this generation is in them. What of the older ones is in them goes along with their links.
func (g *generations) exportTotals(m *message, self func() (Peer, int64)) {
	p, dropped := self()
	g.told = nil // a word before this one has not arrived
	told := g.total(p.Open, dropped)
	total := told
	total.Swaps++
	g.told = &told
	g.bases = make(map[*elder]listener.Counts)
	for _, e := range g.older {
		g.bases[e] = e.Open
	}
	m.Report, m.Totals = &p, &total
}

// importTotals is the other side of exportTotals. What this generation has seen of others before that comes on top.
func (g *generations) importTotals(m message) {
	if m.Totals != nil {
		seen := g.past
		g.past = *m.Totals
		g.past.Swaps += seen.Swaps
		g.past.FailedSwaps += seen.FailedSwaps
		g.past.add(listener.Counts{
			Adopted: seen.Adopted, Moved: seen.Moved, Aged: seen.Aged, Lost: seen.Lost, CutOff: seen.CutOff,
			Part: seen.Part, Junk: seen.Junk, Requests: seen.Requests, Aside: seen.Aside,
		}, listener.Counts{})
	}
	if e := g.starter; e != nil {
		e.Phase = Draining
		e.heed(m.Report)
		e.base = e.Open
	}
	if m.Report != nil { // or what hello said is the last word
		g.holders = m.Holders
	}
}
