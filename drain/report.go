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
		for p := range r.out { // to its end, also when the link is closed
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

// tell does not wait for a main generation that does not read, such as one that is halted: the newest report takes the
// place of one that waits. Leads are reported again each time. The main generation may be of a version that ignores
// them, and the next one reads the next report.
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

// close sends the last report, which has the final counts of this generation. It waits for lastWords at most.
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

// total is the sum of all generations, as far as this one knows; here are this generation's counts. It is never larger
// than the next generation's total, so that no counter falls: what is counted after told reaches that one by report.
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

// exportTotals puts the totals into m, with this generation's counts that they include. The counts of older
// generations that they include go with their links.
func (g *generations) exportTotals(m *message, self func() (Peer, int64)) {
	p, dropped := self()
	g.told = nil // set by an earlier promotion that failed to be sent
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

// importTotals is the other side of exportTotals. It adds what this generation has counted of others before.
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
	if m.Report != nil { // else the holders of hello stay
		g.holders = m.Holders
	}
}
