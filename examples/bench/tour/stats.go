//go:build unix

package main

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/baton-go/baton/examples/internal/visitors"
)

var classNames = [visitors.Classes]string{"keep-alive", "idle", "new connections", "late senders", "2-second", "odd"}

// outcome is how a request ended. Everything but ok is a failed request.
type outcome uint8

const (
	ok        outcome = iota
	eof               // closed without an answer
	reset             // reset without an answer
	timeout           // no whole answer in time
	refused           // no connection to be had
	truncated         // the answer broke off
	mismatch          // another answer than the one to this request
	status            // not 200
	malformed         // not HTTP
	unasked           // bytes nobody asked for
	other
	outcomes
)

var outcomeNames = [outcomes]string{"ok", "eof", "reset", "timeout", "refused", "truncated", "mismatch", "status",
	"malformed", "unasked", "other"}

// record is one request. Times are counted from the start of the run.
type record struct {
	end, dur time.Duration
	pid      int32 // which process answered, 0 if none did
	class    visitors.Class
	outcome  outcome
}

func (r record) start() time.Duration { return r.end - r.dur }

// recorder keeps the records of one client, so that clients do not wait for each other to write theirs.
type recorder struct {
	mu      sync.Mutex
	records []record
}

func (r *recorder) add(rec record) {
	r.mu.Lock()
	r.records = append(r.records, rec)
	r.mu.Unlock()
}

// stats gathers what the clients of one run saw.
type stats struct {
	t0 time.Time

	mu         sync.Mutex
	recorders  []*recorder
	first      map[int]answerer // by pid
	reconnects []reconnect
	elsewhere  int
	firstErr   string // an example of the first failure, to read
}

// answerer is a process that answered, and the end of its first answer.
type answerer struct {
	generation int
	at         time.Duration
}

type reconnect struct {
	at    time.Duration
	class visitors.Class
}

func newStats() *stats { return &stats{t0: time.Now(), first: map[int]answerer{}} }

func (s *stats) now() time.Duration { return time.Since(s.t0) }

func (s *stats) recorder() *recorder {
	r := &recorder{}
	s.mu.Lock()
	s.recorders = append(s.recorders, r)
	s.mu.Unlock()
	return r
}

// answered notes the first answer of a process. Clients call it when the process is another than last time, and may
// do so out of order.
func (s *stats) answered(pid, generation int, at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := s.first[pid]; !ok || at < was.at {
		s.first[pid] = answerer{generation, at}
	}
}

func (s *stats) firstAnswer(pid int) (answerer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.first[pid]
	return a, ok
}

func (s *stats) reconnected(c visitors.Class, at time.Duration) {
	s.mu.Lock()
	s.reconnects = append(s.reconnects, reconnect{at, c})
	s.mu.Unlock()
}

func (s *stats) sentElsewhere() {
	s.mu.Lock()
	s.elsewhere++
	s.mu.Unlock()
}

func (s *stats) example(msg string) {
	s.mu.Lock()
	if s.firstErr == "" {
		s.firstErr = msg
	}
	s.mu.Unlock()
}

// all returns every record so far, ordered by end.
func (s *stats) all() []record {
	s.mu.Lock()
	recorders := slices.Clone(s.recorders)
	s.mu.Unlock()
	var all []record
	for _, r := range recorders {
		r.mu.Lock()
		all = append(all, r.records...)
		r.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b record) int { return cmp.Compare(a.end, b.end) })
	return all
}

// reconnectsBy counts the reconnects of a class before a moment.
func (s *stats) reconnectsBy(before time.Duration, is func(visitors.Class) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.reconnects {
		if r.at < before && is(r.class) {
			n++
		}
	}
	return n
}

// span is a stretch of the run.
type span struct{ from, to time.Duration }

func (w span) touches(r record) bool { return r.start() <= w.to && r.end >= w.from }

func touchesAny(spans []span, r record) bool {
	return slices.ContainsFunc(spans, func(w span) bool { return w.touches(r) })
}

// quantile returns the smallest value that at least the part q of the sorted values does not exceed; 0 of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// durations returns the sorted durations of the records that pass.
func durations(all []record, pass func(record) bool) []time.Duration {
	var ds []time.Duration
	for _, r := range all {
		if pass(r) {
			ds = append(ds, r.dur)
		}
	}
	slices.Sort(ds)
	return ds
}

// failures counts the failed requests by kind, and their sum.
func failures(all []record, pass func(record) bool) (byKind [outcomes]int, sum int) {
	for _, r := range all {
		if r.outcome != ok && pass(r) {
			byKind[r.outcome]++
			sum++
		}
	}
	return byKind, sum
}
