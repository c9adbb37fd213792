package drain

import (
	"slices"
	"time"
)

// history is what the service has been through, and how its last swap ended.
type history struct {
	records []Record
	last    *SwapResult // nil: none has been tried
}

// mostRecords bounds history.records, unless more generations live, and mostText the bytes of a text in one: all of it
// goes along in a swap.
const mostRecords, mostText = 16, 300

func (h *history) add(r Record) {
	short := func(text string) string { return oneLine(text[:min(len(text), mostText)]) }
	r.At, r.Version, r.Err = r.At.Round(0), short(r.Version), short(r.Err)
	h.records = append(h.records, r)
	if len(h.records) <= mostRecords {
		return
	}
	over := func(r Record) bool { return r.Err != "" || !r.Gone.IsZero() }
	i := max(0, slices.IndexFunc(h.records, over))
	h.records = slices.Delete(h.records, i, i+1)
}

// swapped is told how a swap ended.
func (h *history) swapped(end SwapResult, version string) {
	h.last = &end
	if end.Err != "" { // a new generation has its own record of it
		h.add(Record{At: end.At, Generation: end.Generation, Version: version, Err: end.Err})
	}
}

// gone is told that an older generation is.
func (h *history) gone(generation int) {
	for i := range h.records {
		if r := &h.records[i]; r.Generation == generation && r.Err == "" {
			r.Gone = time.Now().Round(0)
		}
	}
}

// part lets the next generation tell of the swap by which it has come, and of those before.
func (h *history) part(generation int, version string) part {
	const last, all = "last_swap", "history"
	return part{
		inherit: func(m message) {
			var came SwapResult
			if m.take(last, &came) {
				h.last = &came
			}
			var records []Record
			if m.take(all, &records) {
				own := h.records // where the word of the old generation comes late
				h.records = nil
				for _, r := range append(records, own...) {
					h.add(r)
				}
			}
		},
		acquire: func() {
			h.add(Record{At: time.Now(), Generation: generation, Version: version})
		},
		release: func(m *message) { // nobody needs either
			_ = m.give(last, SwapResult{At: time.Now().Round(0), Generation: generation + 1})
			_ = m.give(all, h.records)
		},
	}
}
