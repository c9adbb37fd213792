//go:build unix

package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/baton-go/baton/examples/internal/visitors"
)

// around is how far the neighbourhood of a swap reaches, before its trigger and after its promotion: together half
// a second, beside the swap itself.
const around = 250 * time.Millisecond

// result is what a run comes to. Every figure in the table and the page is taken from here, and every one is measured.
type result struct {
	*side
	records []record

	requests    int
	perSecond   float64
	failed      [outcomes]int // until the stop
	failedSum   int
	stopFailed  [outcomes]int // from the trigger of the stop on
	stopSum     int
	reconnects  int // of the keep-alive clients; the rival's only until the stop
	reconnected int // of all others with a connection of their own
	ledger      int
	ledgerOf    int // generations that wrote one

	swapped      int
	swapTime     []time.Duration // trigger to the first answer of the new generation
	pace         []time.Duration // one trigger to the next
	promoteTime  []time.Duration // trigger to the new pid in the PID file
	oldAnswer    []time.Duration // promotion to the old one's last answer to a keep-alive client
	oldGone      []time.Duration // promotion to the end of the old one
	worst        time.Duration   // latency around a swap
	p50, p99     time.Duration   // latency away from swaps
	maxAway      time.Duration
	exits, clean int // exit codes seen, and those that were 0
}

func evaluate(s *side) *result {
	r := &result{side: s}
	if s.stats == nil {
		return r
	}
	if s.stop == 0 {
		s.stop = s.ended
	}
	if s.broke != nil {
		s.stop, s.ended = min(s.stop, s.cut), s.cut
	}
	r.records = slices.DeleteFunc(s.stats.all(), func(rec record) bool { return s.broke != nil && rec.end > s.cut })
	r.requests = len(r.records)
	r.perSecond = float64(r.requests) / s.ended.Seconds()
	// A request belongs to the stop when it began after its trigger.
	r.failed, r.failedSum = failures(r.records, func(rec record) bool { return rec.start() < s.stop })
	r.stopFailed, r.stopSum = failures(r.records, func(rec record) bool { return rec.start() >= s.stop })
	// At the stop ours has the balancer send everyone elsewhere first, so that nobody may have to reconnect even then.
	until := s.stop
	if s.ours {
		until = s.ended
	}
	r.reconnects = s.stats.reconnectsBy(until, func(c visitors.Class) bool { return c == visitors.KeepAlive })
	r.reconnected = s.stats.reconnectsBy(until, func(c visitors.Class) bool { return c != visitors.KeepAlive })

	var spans []span
	for i, l := range s.lives {
		if l.proc.isGone() && l.proc.seen {
			r.exits++
			if l.proc.code == 0 {
				r.clean++
			}
		}
		if i == 0 {
			continue
		}
		old := s.lives[i-1]
		r.swapped++
		spans = append(spans, span{l.asked - around, l.promoted + around})
		r.swapTime = append(r.swapTime, l.first-l.asked)
		if i > 1 {
			r.pace = append(r.pace, l.asked-old.asked)
		}
		r.promoteTime = append(r.promoteTime, l.promoted-l.asked)
		if old.gone > 0 {
			r.oldGone = append(r.oldGone, old.gone-l.promoted)
		}
		r.oldAnswer = append(r.oldAnswer, max(0, lastAnswer(r.records, old.pid)-l.promoted))
	}
	for _, ds := range [][]time.Duration{r.swapTime, r.pace, r.promoteTime, r.oldAnswer, r.oldGone} {
		slices.Sort(ds)
	}
	near := durations(r.records, func(rec record) bool { return rec.class.Quick() && touchesAny(spans, rec) })
	away := durations(r.records, func(rec record) bool {
		return rec.class.Quick() && rec.end < s.stop && !touchesAny(spans, rec)
	})
	r.worst, r.maxAway = quantile(near, 1), quantile(away, 1)
	r.p50, r.p99 = quantile(away, 0.5), quantile(away, 0.99)

	if s.svc != nil {
		lost := s.svc.log.ledger()
		for _, l := range s.lives {
			if n, wrote := lost[l.pid]; wrote {
				r.ledgerOf++
				r.ledger += n
			}
		}
	}
	return r
}

// lastAnswer returns the end of a process's last answer to a keep-alive client.
func lastAnswer(all []record, pid int) time.Duration {
	for _, rec := range slices.Backward(all) {
		if int(rec.pid) == pid && rec.class == visitors.KeepAlive {
			return rec.end
		}
	}
	return 0
}

// problems lists what must not happen to ours, each as a line to read. None means that the promise held.
func (r *result) problems() []string {
	var ps []string
	add := func(format string, args ...any) { ps = append(ps, fmt.Sprintf(format, args...)) }
	if r.broke != nil {
		add("the run was given up: %v", r.broke)
	}
	if n := r.failedSum + r.stopSum; n > 0 {
		add("%d requests failed (%s); the first: %s", n, kinds(sum(r.failed, r.stopFailed)), r.stats.firstErr)
	}
	if n := r.reconnects + r.reconnected; n > 0 {
		add("clients had to make their connection again %d times", n)
	}
	if r.cfg.acts["swaps"] && r.swapped != r.cfg.swaps {
		add("%d of %d swaps happened", r.swapped, r.cfg.swaps)
	}
	if r.ledger > 0 {
		add("the service's own loss ledger has %d lost requests", r.ledger)
	}
	if r.broke == nil && r.ledgerOf != len(r.lives) {
		add("%d of %d generations closed their loss ledger", r.ledgerOf, len(r.lives))
	}
	if last := len(r.lives) - 1; r.broke == nil && runtime.GOOS == "linux" && !r.lives[last].proc.seen {
		add("the exit code of the stop could not be seen")
	}
	known := map[int]bool{}
	for _, l := range r.lives {
		known[l.pid] = true
		if l.proc.isGone() && l.proc.seen && l.proc.code != 0 && (r.broke == nil || l.gone < r.cut) {
			add("generation %d (pid %d) ended with exit code %s", l.generation, l.pid, l.proc.exit())
		}
	}
	if r.stats != nil {
		for pid := range r.stats.first {
			if !known[pid] {
				add("process %d answered clients and was never promoted", pid)
			}
		}
	}
	return ps
}

// problems lists those of all runs of ours.
func problems(results []*result) (ps []string) {
	for _, r := range results {
		if r.ours {
			for _, p := range r.problems() {
				ps = append(ps, r.name()+": "+p)
			}
		}
	}
	return ps
}

// verdict says whether the promise held and returns the exit code.
func verdict(w io.Writer, results []*result) int {
	ps := problems(results)
	for _, p := range ps {
		fmt.Fprintf(w, "\nLOST: %s\n", p)
	}
	if len(ps) > 0 {
		return 1
	}
	requests := 0
	for _, r := range results {
		if r.ours {
			requests += r.requests
		}
	}
	fmt.Fprintf(w, "\nNothing was lost: 0 of %d requests failed, 0 reconnects, 0 in the loss ledger.\n", requests)
	return 0
}

func sum(a, b [outcomes]int) [outcomes]int {
	for i := range a {
		a[i] += b[i]
	}
	return a
}

// kinds writes failures as "3 eof, 1 reset".
func kinds(byKind [outcomes]int) string {
	var parts []string
	for o, n := range byKind {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, outcomeNames[o]))
		}
	}
	return strings.Join(parts, ", ")
}

// ratio compares our swap with the rival's, without the probation that only ours has; NaN when either has none, or when
// they did not follow each other at the same pace: soon after a swap, the next takes longer.
func ratio(ours, rival *result) float64 {
	if rival == nil || len(ours.pace) == 0 || len(rival.pace) == 0 {
		return math.NaN()
	}
	if pace := float64(quantile(ours.pace, 0.5)) / float64(quantile(rival.pace, 0.5)); pace < 0.8 || pace > 1.25 {
		return math.NaN()
	}
	own := quantile(ours.swapTime, 0.5) - ours.cfg.probation
	return float64(own) / float64(quantile(rival.swapTime, 0.5))
}
