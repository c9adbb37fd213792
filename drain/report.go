package drain

import (
	"context"
	"reflect"
	"time"

	"github.com/baton-go/baton/listener"
)

// reporter tells the main generation how far this one is with its drain. Its fields are the loop's,
// but for the channels.
type reporter struct {
	out  chan Peer     // closed by close
	sent chan struct{} // closed when all of out is
	told Peer
	next *time.Timer
}

// beginReports reports at once, and each second in which something has changed.
func (s *Service) beginReports(send func(Peer)) {
	r := &reporter{out: make(chan Peer, 1), sent: make(chan struct{})}
	s.reports = r
	go func() {
		defer close(r.sent)
		for p := range r.out { // to its end, also when nobody hears any more
			send(p)
		}
	}()
	r.next = time.AfterFunc(reportBusy, func() {
		s.call(func() {
			s.reports.tell(s.peer())
			s.reports.next.Reset(reportBusy)
		})
	})
	r.tell(s.peer())
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

// peer is this generation, as others see it.
func (s *Service) peer() Peer {
	p := Peer{
		Generation: s.generation, PID: s.os.pid, Phase: s.phase, Since: s.since.Round(0), Hurried: s.hurried,
		Open: s.set.Counts(), Tasks: len(s.work.Names()), Leads: s.work.Leads(),
	}
	if s.phase == Draining {
		p.Deadline = s.deadlineAt.Round(0)
	}
	return p
}

// heed takes what an elder says of itself, or the one who has handed it on.
func (e *elder) heed(p *Peer) {
	if p == nil { // a version that does not report
		return
	}
	told := *p
	told.Generation, told.PID = e.Generation, e.PID
	told.Hurried = told.Hurried || e.Hurried // it may not have come to that yet
	e.Peer = told
}

// total is what all generations have counted, as far as this one knows.
func (s *Service) total() Totals {
	t := s.past
	t.add(s.set.Counts(), listener.Counts{})
	t.LogDropped += s.lines.Dropped()
	for _, e := range s.older {
		t.add(e.Open, e.base)
	}
	return t
}

// add adds what has been counted since base, which is in t already.
func (t *Totals) add(now, base listener.Counts) {
	t.Adopted += now.Adopted - base.Adopted
	t.Moved += now.Moved - base.Moved
	t.Lost += now.Lost - base.Lost
	t.CutOff += now.CutOff - base.CutOff
	t.Part += now.Part - base.Part
	t.Junk += now.Junk - base.Junk
}

// bequeath makes m carry what the next generation goes on counting from: the totals, and of this generation what is in
// them. Of the elders, returned, it goes with their links. What changes here, takeBackLeads undoes.
func (s *Service) bequeath(m *message) map[*elder]listener.Counts {
	total, bases := s.past, make(map[*elder]listener.Counts)
	total.Swaps++
	for _, e := range s.older {
		total.add(e.Open, e.base)
		bases[e] = e.Open
	}
	p := s.peer()
	p.Phase, p.Since = Draining, time.Now().Round(0)
	p.Deadline = p.Since.Add(s.cfg.DrainTimeout)
	total.add(p.Open, listener.Counts{})
	total.LogDropped += s.lines.Dropped()
	m.Report, m.Totals = &p, &total
	m.Holders = s.allHolders()
	s.bequeathed = true
	return bases
}

// takeBackLeads undoes what bequeath has changed, where nobody has taken over.
func (s *Service) takeBackLeads() {
	s.bequeathed = false
	s.beginLeads()
}

// inheritTotals is the other side of bequeath. What this generation has seen of others before that comes on top.
func (s *Service) inheritTotals(e *elder, m message) {
	if m.Totals != nil {
		seen := s.past
		s.past = *m.Totals
		s.past.Swaps += seen.Swaps
		s.past.FailedSwaps += seen.FailedSwaps
		s.past.add(listener.Counts{
			Adopted: seen.Adopted, Moved: seen.Moved, Lost: seen.Lost, CutOff: seen.CutOff, Part: seen.Part,
			Junk: seen.Junk,
		}, listener.Counts{})
	}
	if e != nil {
		e.Phase = Draining
		e.heed(m.Report)
		e.base = e.Open
	}
	if m.Report != nil { // or what hello said is the last word
		s.holders = m.Holders
	}
}
