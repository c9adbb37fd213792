//go:build unix

package main

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// label is a text that hangs on a mark of the timeline.
type label struct {
	x, width float64 // where its mark is and its text begins, and how wide the text is
	text     string
	bad      bool
	row      int // 0 is the lowest
}

const labelGap = 7

// charWidth is the width of a character of the labels' font, on the safe side.
const charWidth = 5.8

// layOut gives every label a row so that no two texts overlap and no mark's line, which goes down from its text
// through the rows below, runs through another's text. It returns the number of rows.
func layOut(labels []label) int {
	slices.SortStableFunc(labels, func(a, b label) int { return cmp.Compare(a.x, b.x) })
	for rows := 1; ; rows++ {
		ends := make([]float64, rows) // how far to the right each row is taken
		for i := range ends {
			ends[i] = math.Inf(-1)
		}
		fits := true
		for i := range labels {
			l := &labels[i]
			// The highest row with nothing in the way from there down.
			row := -1
			for row+1 < rows && ends[row+1]+labelGap <= l.x {
				row++
			}
			if row < 0 {
				fits = false
				break
			}
			l.row = row
			ends[row] = l.x + l.width
		}
		if fits {
			return rows
		}
	}
}

// logScale maps latencies to the height of a chart, decade by decade.
type logScale struct {
	lo, hi time.Duration
	height float64
}

// y returns the distance from the chart's top.
func (s logScale) y(d time.Duration) float64 {
	d = min(max(d, s.lo), s.hi)
	return s.height * (1 - math.Log(float64(d)/float64(s.lo))/math.Log(float64(s.hi)/float64(s.lo)))
}

// logScaleOf returns the decades that hold all latencies.
func logScaleOf(runs [][]bucket, height float64) logScale {
	s := logScale{lo: time.Millisecond, hi: 10 * time.Millisecond, height: height}
	for _, bs := range runs {
		for _, b := range bs {
			for b.P50 > 0 && b.P50 < s.lo && s.lo > time.Microsecond {
				s.lo /= 10
			}
			for b.Max > s.hi {
				s.hi *= 10
			}
		}
	}
	return s
}

// decades returns the powers of ten of the scale.
func (s logScale) decades() []time.Duration {
	var ds []time.Duration
	for d := s.lo; d <= s.hi; d *= 10 {
		ds = append(ds, d)
	}
	return ds
}

// niceCeil returns the next 1, 2 or 5 times a power of ten.
func niceCeil(n float64) float64 {
	if n <= 1 {
		return 1
	}
	p := math.Pow(10, math.Floor(math.Log10(n)))
	for _, f := range []float64{1, 2, 5} {
		if f*p >= n {
			return f * p
		}
	}
	return 10 * p
}
