package health

import (
	"slices"
	"time"
)

const (
	remembered = 8 // gaps that decide, and that go to another process

	quick = 5 * time.Second // a prober that asks as often is known after three times, others after four

	compared = 24 // gaps, where those that decide are uneven

	// maxTimes is how many arrivals are kept, to find a rhythm in a crowd: 46 s at 11 a second.
	maxTimes = 512
	// analyzeEvery is how many arrivals of a crowd lie between two searches for a rhythm.
	analyzeEvery = 128

	// longestGap is the longest that can be part of a rhythm. The slowest
	// balancers can be set to 5 minutes; beyond, it is a person coming back.
	longestGap = 6 * time.Minute
)

// rhythm is what somebody's arrivals say about its interval.
type rhythm struct {
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

// arrive enters an arrival. Now is not before the last one.
func (r *rhythm) arrive(now time.Duration) {
	if n := len(r.times); n > 0 && now-r.times[n-1] > longestGap {
		*r = rhythm{}
	}
	if len(r.times) == maxTimes {
		r.times = append(r.times[:0], r.times[1:]...)
	}
	r.times = append(r.times, now)
	r.weigh()
	r.follow(now)
}

// gap returns the i-th last, 0 being the last.
func (r *rhythm) gap(i int) time.Duration {
	n := len(r.times)
	return r.times[n-1-i] - r.times[n-2-i]
}

// gaps returns those that decide, the oldest first.
func (r *rhythm) gaps() []time.Duration {
	return r.appendGaps([]time.Duration{}, remembered)
}

func (r *rhythm) appendGaps(to []time.Duration, most int) []time.Duration {
	for i := min(max(0, len(r.times)-1), most) - 1; i >= 0; i-- {
		to = append(to, r.gap(i))
	}
	return to
}

// weigh looks for an interval in the last gaps.
func (r *rhythm) weigh() {
	r.interval, r.longest = 0, 0
	var room [compared]time.Duration
	sorted := r.appendGaps(room[:0], remembered)
	n := len(sorted)
	if n == 0 {
		return
	}
	slices.Sort(sorted)
	r.uneven, r.run = max(0, r.uneven-1), r.run+1
	if n > 1 && !even(r.gap(0), r.gap(1)) {
		r.uneven, r.run = maxTimes, 0
	}

	// The upper quartile: a lost probe, or a few that came early, do not move
	// it. To take a prober to be slower than it is costs time, to take it to
	// be faster costs requests. Where the quartiles are far apart there is no
	// rhythm: most likely a person.
	short, long := sorted[n/4], sorted[n*3/4]
	var rhythmic bool
	switch {
	case n <= 4: // few gaps are somewhat even by chance
		rhythmic = n > 1 && 8*long <= 9*short && (n > 2 || long <= quick)
	case n == remembered && even(sorted[1], sorted[n-2]):
		rhythmic = true // now, whatever it was before
	default:
		rhythmic = even(short, long) || 4*long <= 7*short && sorted[n-2] <= 3*sorted[1]
	}
	if !rhythmic {
		return
	}
	r.interval = long
	for _, gap := range sorted {
		if gap <= long+long/2 { // or a probe was lost
			r.longest = gap
		}
	}
	if n == remembered && !even(sorted[1], sorted[n-2]) { // eight may be somewhat even by chance, too
		more := r.appendGaps(room[:0], compared)
		slices.Sort(more)
		if 4*more[len(more)*3/4] > 7*more[len(more)/4] {
			r.interval, r.longest = 0, 0
		}
	}
}

func even(a, b time.Duration) bool { return 4*max(a, b) <= 5*min(a, b) }

// follow keeps the slow rhythm while there is something on its beat.
func (r *rhythm) follow(now time.Duration) {
	if r.slow > 0 {
		slack := max(r.slow/16, 20*time.Millisecond)
		for r.missed < 3 && now > r.beat+r.slow+slack {
			r.beat += r.slow
			r.missed++
		}
		switch {
		case r.missed == 3:
			r.slow = 0
		case now >= r.beat+r.slow-slack:
			r.beat, r.missed = now, 0
		}
	}
	switch faster := 4*r.interval < 3*r.slow; {
	case r.interval == 0 || !r.exact():
	case !faster:
		r.slow, r.beat, r.missed = r.interval, now, 0
	case times(r.run, r.interval) > 3*r.slow: // nobody comes between: it has been set to be faster
		r.slow = 0
	}
	if r.waited++; r.waited >= analyzeEvery {
		r.analyze()
	}
}

// exact reports whether the interval is more than chance: known for long, or few gaps that hardly differ.
func (r *rhythm) exact() bool {
	n := len(r.times) - 1
	if n >= remembered {
		return true
	}
	shortest, longest := r.gap(0), r.gap(0)
	for i := range n {
		shortest, longest = min(shortest, r.gap(i)), max(longest, r.gap(i))
	}
	return longest-shortest <= longest/20
}

// analyze searches all that is kept for a slow rhythm.
func (r *rhythm) analyze() {
	if r.waited = 0; r.uneven == 0 || len(r.times) <= remembered {
		return
	}
	span := r.times[len(r.times)-1] - r.times[0]
	if p, beat := slowest(r.times); p > r.slow || span > times(64, r.slow) {
		r.slow, r.beat, r.missed = p, beat, 0
	}
}

// pace returns the interval to reckon with, and the longest gap that it may have; 0 while unknown.
func (r *rhythm) pace() (interval, longest time.Duration) {
	if r.slow > r.interval {
		return r.slow, r.slow + r.slow/100
	}
	return r.interval, r.longest
}

// crowded reports whether more has come lately than an interval has room for: others share the identity, so who of
// them has had which answer is unknown.
func (r *rhythm) crowded(interval time.Duration) bool {
	for i := range min(len(r.times)-1, 32) {
		if r.gap(i) < interval*9/20 {
			return true
		}
	}
	return false
}

// summary returns gaps from which another rhythm learns what r knows.
func (r *rhythm) summary() []time.Duration {
	if r.slow > r.interval {
		return []time.Duration{r.slow, r.slow, r.slow}
	}
	return r.gaps()
}

func (r rhythm) clone() rhythm {
	r.times = slices.Clone(r.times)
	return r
}

// shifted returns r as if all had come later.
func (r rhythm) shifted(by time.Duration) rhythm {
	for i := range r.times {
		r.times[i] += by
	}
	r.beat += by
	return r
}
