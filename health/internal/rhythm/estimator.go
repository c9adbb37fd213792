// Package rhythm finds the interval of a prober in the times at which it comes.
package rhythm

import (
	"math"
	"slices"
	"time"
)

const (
	// Remembered is how many gaps decide, and go to another process.
	Remembered = 8

	quick = 5 * time.Second // a prober that asks as often is known after three times, others after four

	compared = 24 // gaps, where those that decide are uneven

	// maxTimes is how many arrivals are kept, to find a rhythm in a crowd: 46 s at 11 a second.
	maxTimes = 512
	// analyzeEvery is how many arrivals of a crowd lie between two searches for a rhythm.
	analyzeEvery = 128

	// LongestGap is the longest that can be part of a rhythm. The slowest
	// balancers can be set to 5 minutes; beyond, it is a person coming back.
	LongestGap = 6 * time.Minute
)

// Estimator is what the arrivals of a prober say about its interval. The zero value has seen none. It is not
// safe for concurrent use.
type Estimator struct {
	times    []time.Duration // of the last arrivals, the oldest first
	interval time.Duration   // of the last gaps, if they are even; 0 while unknown
	longest  time.Duration   // of those that make up the interval; 0 while that is unknown

	// slow is the slowest rhythm that was found so far, and beat its last arrival. It is kept while
	// something arrives on the beat, whatever comes between: a crowd that joins in can't hide it,
	// nor flush it out.
	slow, beat time.Duration
	missed     int // beats in a row

	run    int // gaps that were even, up to the last
	uneven int // arrivals until those kept are all at even distances
	waited int // arrivals since the last search in the crowd
}

// Arrive enters an arrival. Now is not before the last one. After more than LongestGap all begins again.
func (e *Estimator) Arrive(now time.Duration) {
	if n := len(e.times); n > 0 && now-e.times[n-1] > LongestGap {
		*e = Estimator{}
	}
	if len(e.times) == maxTimes {
		e.times = append(e.times[:0], e.times[1:]...)
	}
	e.times = append(e.times, now)
	e.weigh()
	e.follow(now)
}

// Gap returns the i-th last, 0 being the last.
func (e *Estimator) Gap(i int) time.Duration {
	n := len(e.times)
	return e.times[n-1-i] - e.times[n-2-i]
}

// appendGaps appends the last gaps, the oldest of them first, to others.
func (e *Estimator) appendGaps(to []time.Duration, most int) []time.Duration {
	for i := min(max(0, len(e.times)-1), most) - 1; i >= 0; i-- {
		to = append(to, e.Gap(i))
	}
	return to
}

// weigh looks for an interval in the last gaps.
func (e *Estimator) weigh() {
	e.interval, e.longest = 0, 0
	var room [compared]time.Duration
	sorted := e.appendGaps(room[:0], Remembered)
	n := len(sorted)
	if n == 0 {
		return
	}
	slices.Sort(sorted)
	e.uneven, e.run = max(0, e.uneven-1), e.run+1
	if n > 1 && !even(e.Gap(0), e.Gap(1)) {
		e.uneven, e.run = maxTimes, 0
	}

	// The upper quartile: a lost probe, or a few that came early, do not move it. To take a prober to
	// be slower than it is costs time, to take it to be faster costs requests. Where the quartiles are
	// far apart there is no rhythm: most likely a person.
	short, long := sorted[n/4], sorted[n*3/4]
	var rhythmic bool
	switch {
	case n <= 4: // few gaps are somewhat even by chance
		rhythmic = n > 1 && 8*long <= 9*short && (n > 2 || long <= quick)
	case n == Remembered && even(sorted[1], sorted[n-2]):
		rhythmic = true // now, whatever it was before
	default:
		rhythmic = even(short, long) || 4*long <= 7*short && sorted[n-2] <= 3*sorted[1]
	}
	if !rhythmic {
		return
	}
	e.interval = long
	for _, gap := range sorted {
		if gap <= long+long/2 { // or a probe was lost
			e.longest = gap
		}
	}
	if n == Remembered && !even(sorted[1], sorted[n-2]) { // eight may be somewhat even by chance, too
		more := e.appendGaps(room[:0], compared)
		slices.Sort(more)
		if 4*more[len(more)*3/4] > 7*more[len(more)/4] {
			e.interval, e.longest = 0, 0
		}
	}
}

func even(a, b time.Duration) bool { return 4*max(a, b) <= 5*min(a, b) }

// follow keeps the slow rhythm while there is something on its beat.
func (e *Estimator) follow(now time.Duration) {
	if e.slow > 0 {
		slack := max(e.slow/16, 20*time.Millisecond)
		for e.missed < 3 && now > e.beat+e.slow+slack {
			e.beat += e.slow
			e.missed++
		}
		switch {
		case e.missed == 3:
			e.slow = 0
		case now >= e.beat+e.slow-slack:
			e.beat, e.missed = now, 0
		}
	}
	switch faster := 4*e.interval < 3*e.slow; {
	case e.interval == 0 || !e.exact():
	case !faster:
		e.slow, e.beat, e.missed = e.interval, now, 0
	case Times(e.run, e.interval) > 3*e.slow: // nothing else comes: the prober has been set to be faster
		e.slow = 0
	}
	if e.waited++; e.waited >= analyzeEvery {
		e.Analyze()
	}
}

// exact reports whether the interval is more than chance: known for long, or few gaps that hardly differ.
func (e *Estimator) exact() bool {
	n := len(e.times) - 1
	if n >= Remembered {
		return true
	}
	shortest, longest := e.Gap(0), e.Gap(0)
	for i := range n {
		shortest, longest = min(shortest, e.Gap(i)), max(longest, e.Gap(i))
	}
	return longest-shortest <= longest/20
}

// Analyze searches all that is kept for a slow rhythm. That may take some milliseconds.
func (e *Estimator) Analyze() {
	if e.waited = 0; e.uneven == 0 || len(e.times) <= Remembered {
		return
	}
	span := e.times[len(e.times)-1] - e.times[0]
	if p, beat := slowest(e.times); p > e.slow || span > Times(64, e.slow) {
		e.slow, e.beat, e.missed = p, beat, 0
	}
}

// Interval returns the interval to reckon with; 0 while it is unknown.
func (e *Estimator) Interval() time.Duration { return max(e.slow, e.interval) }

// Longest returns the longest gap that the interval may have; 0 while it is unknown.
func (e *Estimator) Longest() time.Duration {
	if e.slow > e.interval {
		return e.slow + e.slow/100
	}
	return e.longest
}

// Count returns how many arrivals are kept, 512 at most.
func (e *Estimator) Count() int { return len(e.times) }

// Even reports whether all gaps that are kept are even.
func (e *Estimator) Even() bool { return e.uneven == 0 }

// Crowded reports whether more has come lately than the interval has room for. Then others share the
// identity, and an answer may have been theirs. While the interval is unknown nothing is crowded.
func (e *Estimator) Crowded() bool {
	for i := range min(len(e.times)-1, 32) {
		if e.Gap(i) < e.Interval()*9/20 {
			return true
		}
	}
	return false
}

// Gaps returns gaps, the oldest first, from which another estimator learns what e knows.
func (e *Estimator) Gaps() []time.Duration {
	if e.slow > e.interval {
		return []time.Duration{e.slow, e.slow, e.slow}
	}
	return e.appendGaps([]time.Duration{}, Remembered)
}

// Learn enters the arrivals that were those gaps apart, the last of them at a time.
func (e *Estimator) Learn(gaps []time.Duration, last time.Duration) {
	for _, gap := range gaps {
		last -= gap
	}
	e.Arrive(last)
	for _, gap := range gaps {
		last += gap
		e.Arrive(last)
	}
}

// Clone returns a copy that shares nothing with e.
func (e Estimator) Clone() Estimator {
	e.times = slices.Clone(e.times)
	return e
}

// Shift makes e as if all had come later.
func (e *Estimator) Shift(by time.Duration) {
	for i := range e.times {
		e.times[i] += by
	}
	e.beat += by
}

// Times returns n times d, or the longest duration where that is longer.
func Times(n int, d time.Duration) time.Duration {
	if d > 0 && n > int(math.MaxInt64/d) {
		return math.MaxInt64
	}
	return time.Duration(n) * d
}
