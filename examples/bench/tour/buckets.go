//go:build unix

package main

import (
	"slices"
	"time"
)

const bucketWidth = 100 * time.Millisecond

// bucket is what ended in one tenth of a second.
type bucket struct {
	ByGen         map[int]int // answers by generation
	Failed        int
	P50, P99, Max time.Duration // of the quick classes
}

func (b bucket) answers() int {
	n := 0
	for _, k := range b.ByGen {
		n += k
	}
	return n
}

// bucketsOf sorts a run's requests into buckets, the first of which begins with the run.
func bucketsOf(r *result) []bucket {
	generation := map[int32]int{}
	for _, l := range r.lives {
		generation[int32(l.pid)] = l.generation
	}
	bs := make([]bucket, int(r.ended/bucketWidth)+1)
	quick := make([][]time.Duration, len(bs))
	for _, rec := range r.records {
		i := min(int(rec.end/bucketWidth), len(bs)-1)
		if rec.outcome != ok {
			bs[i].Failed++
			continue
		}
		if bs[i].ByGen == nil {
			bs[i].ByGen = map[int]int{}
		}
		bs[i].ByGen[generation[rec.pid]]++
		if rec.class.Quick() {
			quick[i] = append(quick[i], rec.dur)
		}
	}
	for i, ds := range quick {
		slices.Sort(ds)
		bs[i].P50, bs[i].P99, bs[i].Max = quantile(ds, 0.5), quantile(ds, 0.99), quantile(ds, 1)
	}
	return bs
}
