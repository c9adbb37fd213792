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

// mostRecords bounds history.records, and mostText the bytes of a text in one: all of it goes along in a swap.
const mostRecords, mostText = 16, 300

func (h *history) add(r Record) {
	short := func(text string) string { return oneLine(text[:min(len(text), mostText)]) }
	r.At, r.Version, r.Err = r.At.Round(0), short(r.Version), short(r.Err)
	h.records = append(h.records[max(0, len(h.records)+1-mostRecords):len(h.records):len(h.records)], r)
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
	records := slices.Clone(h.records) // a Status may have them
	for i := range records {
		if r := &records[i]; r.Generation == generation && r.Err == "" {
			r.Gone = time.Now().Round(0)
		}
	}
	h.records = records
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
