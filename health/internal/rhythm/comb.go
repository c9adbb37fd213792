package rhythm

import (
	"math"
	"slices"
	"time"
)

const (
	layers = 6 // rhythms that are told apart in one crowd
	doubt  = 0.01
)

// slowest returns the slowest rhythm among the times, which ascend, and its last beat; 0 if there is none.
// Clients that ask for the same route through a balancer come at any distance; its own probes are among
// them at exact distances. So it finds the strongest rhythm, takes it out, and looks for the next in the
// rest.
func slowest(times []time.Duration) (interval, beat time.Duration) {
	rest := slices.Clone(times)
	for layer := range layers {
		c := strongest(rest, doubt/math.Pow(10, float64(layer)))
		if c.interval == 0 {
			break
		}
		if c.interval > interval {
			interval, beat = c.interval, rest[c.members[0]]
		}
		for _, i := range c.members { // the latest first
			rest = slices.Delete(rest, i, i+1)
		}
	}
	return interval, beat
}

// comb is a chain of arrivals at even distances.
type comb struct {
	interval time.Duration
	members  []int // the latest first
	score    float64
}

// strongest returns the comb that chance explains least, if chance hardly explains it. It reaches up to the present.
func strongest(times []time.Duration, doubt float64) (best comb) {
	n := len(times)
	if n < 4 {
		return best
	}
	newest, span := times[n-1], times[n-1]-times[0]
	var members []int
	for _, part := range []time.Duration{400, 100, 30} { // of the interval: how exact it is
		for end := n - 1; end > 0 && newest-times[end] <= span/3; end-- {
			for next := end - 1; next >= 0; next-- {
				interval := times[end] - times[next]
				if interval > span/3 {
					break
				}
				slack := max(interval/part, 2*time.Millisecond)
				if interval < 8*slack || newest-times[end] > interval+slack {
					continue
				}
				// How likely is an arrival by chance where the next one is due?
				chance := float64(n) * float64(2*slack) / float64(span)
				if chance > 0.5 {
					continue
				}
				members = follow(times, end, next, slack, members[:0])
				hits := float64(len(members) - 2)
				first, last := members[len(members)-1], members[0]
				interval = (times[last] - times[first]) / time.Duration(len(members)-1)
				score := -hits * math.Log(chance)
				if hits >= 2 && score > best.score && interval <= LongestGap {
					best = comb{interval, slices.Clone(members), score}
				}
			}
		}
	}
	// That many pairs were tried.
	if best.score < math.Log(float64(n)*float64(n)/doubt) {
		return comb{}
	}
	return best
}

// follow goes back from a pair of arrivals in steps of their distance, as long as there is an
// arrival at the end of each.
func follow(times []time.Duration, end, next int, slack time.Duration, members []int) []int {
	members = append(members, end, next)
	for at := next; ; {
		interval := (times[end] - times[at]) / time.Duration(len(members)-1)
		due := times[at] - interval
		i, _ := slices.BinarySearch(times[:at], due)
		if i == at || i > 0 && due-times[i-1] < times[i]-due {
			i--
		}
		if i < 0 || (times[i]-due).Abs() > slack {
			return members
		}
		members = append(members, i)
		at = i
	}
}
