package drain

import (
	"reflect"
	"testing"

	"github.com/baton-go/baton/listener"
)

// countingGeneration is what one generation of a service counts, and what it knows of the others.
type countingGeneration struct {
	generations
	n       listener.Counts
	dropped int64
	part    part
}

func newCounting() *countingGeneration {
	c := &countingGeneration{}
	c.part = c.generations.part(func() (Peer, int64) { return Peer{Open: c.n}, c.dropped }, func(*elder) {})
	return c
}

func (c *countingGeneration) count(all *int64) {
	*all++
	for _, n := range []*int64{&c.n.Adopted, &c.n.Moved, &c.n.Aged, &c.n.Lost, &c.n.CutOff, &c.n.Part, &c.n.Junk,
		&c.n.Requests, &c.n.Aside, &c.dropped} {
		*n++
	}
}

// TestTotalsNeverFall scrapes a service at each step of its swaps: from the old generation as long as
// that may be asked, then from the new one.
func TestTotalsNeverFall(t *testing.T) {
	t.Parallel()
	var counted int64
	var last Totals
	scrape := func(at string, c *countingGeneration) {
		t.Helper()
		now := c.total(c.n, c.dropped)
		was, is := reflect.ValueOf(last), reflect.ValueOf(now)
		for i := range is.NumField() {
			if is.Field(i).Int() < was.Field(i).Int() {
				t.Errorf("%s: %s falls from %v to %v", at, is.Type().Field(i).Name, was.Field(i), is.Field(i))
			}
		}
		last = now
	}
	main := newCounting()
	for swap := range 3 {
		main.count(&counted)
		scrape("ready", main)
		var m message
		main.part.release(&m)
		main.count(&counted)
		scrape("released", main)
		if swap == 1 { // the first try fails
			main.part.regain()
			main.past.FailedSwaps++
			scrape("taken back", main)
			main.part.release(&m)
			main.count(&counted)
		}
		next := newCounting()
		next.count(&counted) // connections reach it before the word does
		parent := &elder{}
		next.starter, next.parent = parent, parent
		next.part.inherit(m)
		next.part.acquire()
		main.count(&counted) // it moves connections
		main.part.yield()
		scrape("replaced, a scrape under way", main)
		scrape("promoted", next)
		parent.heed(&Peer{Open: main.n})
		scrape("told what the old one counted since", next)
		if last.Moved != counted || last.Lost != counted {
			t.Errorf("%+v, want each of %d", last, counted)
		}
		next.older, next.past = nil, next.total(listener.Counts{}, 0) // the old one ends
		main = next
	}
	if last.Swaps != 3 || last.FailedSwaps != 1 {
		t.Errorf("%+v; want 3 swaps, 1 failed", last)
	}
}
