package health

import (
	"slices"
	"time"
)

const (
	remembered = 8 // gaps
	maxVoices  = 3

	// longestGap is the longest that can be part of a rhythm. The slowest
	// balancers can be set to 5 minutes; beyond, it is a person coming back.
	longestGap = 6 * time.Minute
)

// rhythm is what the gaps between somebody's probes say about its interval.
type rhythm struct {
	gaps     [remembered]time.Duration // the oldest first
	n        int                       // how many of them are known
	interval time.Duration             // 0 while unknown
	longest  time.Duration             // of those that make up the interval; 0 while that is unknown
	voices   int                       // how many share the identity, as far as one can tell; 0 before the first gap
}

func (r *rhythm) learn(gap time.Duration) {
	if gap > longestGap {
		*r = rhythm{}
		return
	}
	if r.n == remembered {
		copy(r.gaps[:], r.gaps[1:])
		r.n--
	}
	r.gaps[r.n] = gap
	r.n++

	// From here on a round is the time between two probes of the same voice.
	r.interval, r.longest, r.voices = 0, 0, r.countVoices()
	var rounds [remembered]time.Duration
	n := r.n - (r.voices - 1)
	for i := range n {
		for _, gap := range r.gaps[i : i+r.voices] {
			rounds[i] += gap
		}
	}
	slices.Sort(rounds[:n])

	// The upper quartile: a lost probe, or a few that came early, do not move
	// it. To take a prober to be slower than it is costs time, to take it to
	// be faster costs requests. Where the quartiles are far apart there is no
	// rhythm: most likely a person.
	short, long := rounds[n/4], rounds[n*3/4]
	if n >= 2 && long <= 3*short {
		r.interval = long
		for _, round := range rounds[:n] {
			if round <= long+long/2 { // or a probe was lost
				r.longest = round
			}
		}
	}
}

// countVoices tells one prober from several that share its identity, each with
// the same interval. Of k voices every k-th gap is the same though neighbours
// differ, while the gaps of a single prober that jitters differ from all others
// alike. In a simulation, one prober with 10 to 50 % of jitter was taken for
// several in 0.3 to 0.7 % of the cases, and two with 1 to 5 % of jitter, at
// random distances, for one in 5 to 10 %: those at nearly even distances.
func (r *rhythm) countVoices() int {
	if r.n < remembered {
		return 1
	}
	var total time.Duration
	for _, gap := range r.gaps {
		total += gap
	}
	neighbours := r.difference(1)
	if neighbours < total/remembered/10 {
		return 1
	}
	for k := 2; k <= maxVoices; k++ {
		if r.difference(k) < neighbours/4 {
			return k
		}
	}
	return 1
}

// difference returns by how much gaps that are k apart differ, on average.
func (r *rhythm) difference(k int) time.Duration {
	var sum time.Duration
	for i := k; i < r.n; i++ {
		sum += (r.gaps[i] - r.gaps[i-k]).Abs()
	}
	return sum / time.Duration(r.n-k)
}
