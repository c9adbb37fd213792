//go:build unix

package main

import (
	"fmt"
	"html"
	"html/template"
	"strings"
	"time"
)

// Sizes in the units of the drawing, which are pixels when it is shown at its own size.
const (
	drawWidth      = 1240.0
	marginLeft     = 84.0
	marginRight    = 58.0
	plotWidth      = drawWidth - marginLeft - marginRight
	labelHeight    = 14.0
	laneHeight     = 12.0
	requestsHeight = 120.0
	failedHeight   = 30.0
	latencyHeight  = 150.0
	space          = 26.0
)

// scales are common to all panels, so that they can be compared by eye.
type scales struct {
	duration time.Duration
	requests float64 // answers in a bucket
	latency  logScale
}

func (s scales) x(at time.Duration) float64 {
	return marginLeft + plotWidth*float64(at)/float64(s.duration)
}

// panel is the drawing of one run.
type panel struct {
	Title, Sub  string        `json:"-"`
	SVG         template.HTML `json:"-"`
	Hovers      []hover
	Left, Width float64 // of the plot, in drawing units
	BucketWidth float64
}

type pen struct{ strings.Builder }

func (p *pen) f(format string, args ...any) { fmt.Fprintf(&p.Builder, format+"\n", args...) }

func (p *pen) text(x, y float64, class, s string) {
	p.f(`<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, class, html.EscapeString(s))
}

// draw draws a run: the marks, the generations' lives, the answers, the failures and the latency, one below the other
// on one axis of time.
func draw(r *result, bs []bucket, sc scales) panel {
	var labels []label
	for _, e := range r.events {
		labels = append(labels, label{
			x: sc.x(e.at), text: e.label, width: charWidth * float64(len(e.label)), bad: e.bad,
		})
	}
	for i := range labels {
		// Near the right edge a text would leave the drawing; the margin holds a short one.
		labels[i].x = min(labels[i].x, drawWidth-labels[i].width)
	}
	labelTop := 4.0
	lanesTop := labelTop + float64(layOut(labels))*labelHeight + 8
	requestsTop := lanesTop + float64(len(r.lives))*laneHeight + space
	failedTop := requestsTop + requestsHeight + 4
	latencyTop := failedTop + failedHeight + space
	bottom := latencyTop + latencyHeight
	height := bottom + 24

	p := &pen{}
	p.f(`<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="timeline of %s">`, drawWidth, height,
		html.EscapeString(r.name()))
	drawAxis(p, sc, lanesTop, bottom)
	for _, l := range labels {
		y := lanesTop - 8 - float64(l.row)*labelHeight
		class := "mark"
		if l.bad {
			class = "mark bad"
		}
		p.f(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="%s"/>`, l.x, l.x, y-labelHeight+4, bottom, class)
		p.text(l.x+2.5, y, class, l.text)
	}
	drawLives(p, r, sc, lanesTop, bottom)
	drawRequests(p, r, bs, sc, requestsTop)
	drawFailed(p, bs, sc, failedTop)
	drawLatency(p, bs, sc, latencyTop)
	p.f(`<line class="cross" y1="%.1f" y2="%.1f" x1="-9" x2="-9"/></svg>`, lanesTop, bottom)
	sub := fmt.Sprintf("%d swaps, %s requests, %d failed before the stop and %d at it", r.swapped,
		grouped(r.requests), r.failedSum, r.stopSum)
	return panel{
		Title: r.name(), Sub: sub, SVG: template.HTML(p.String()), Hovers: hovers(bs),
		Left: marginLeft, Width: drawWidth, BucketWidth: sc.x(bucketWidth) - marginLeft,
	}
}

// drawAxis draws the seconds.
func drawAxis(p *pen, sc scales, top, bottom float64) {
	step := time.Duration(niceCeil(sc.duration.Seconds()/15)) * time.Second
	for at := time.Duration(0); at <= sc.duration; at += step {
		p.f(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="grid"/>`, sc.x(at), sc.x(at), top, bottom+4)
		p.text(sc.x(at), bottom+17, "tick mid", fmt.Sprintf("%.0f s", at.Seconds()))
	}
}

// drawLives draws a lane for each generation: faint while it starts, full while it is main, thin while it finishes
// what it has begun. The line of its promotion goes through the charts below.
func drawLives(p *pen, r *result, sc scales, top, bottom float64) {
	p.text(marginLeft-8, top+9, "name end", "generation")
	for i, l := range r.lives {
		y := top + float64(i)*laneHeight
		bar := func(from, to time.Duration, inset float64, class string) {
			if to > from {
				p.f(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="g%d %s"/>`, sc.x(from), y+inset,
					max(sc.x(to)-sc.x(from), 0.5), laneHeight-3-2*inset, l.generation%generationHues, class)
			}
		}
		gone := l.gone
		if gone == 0 || gone > r.ended {
			gone = r.ended
		}
		end := l.superseded
		if end == 0 {
			end = gone
		}
		bar(l.asked, l.promoted, 0, "starting")
		bar(l.promoted, end, 0, "")
		bar(end, gone, 3, "")
		if i == 0 {
			p.text(sc.x(l.promoted)+4, y+laneHeight-4, "lane on", "1")
		} else {
			p.f(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="mark"/>`,
				sc.x(l.promoted), sc.x(l.promoted), y, bottom)
			p.text(sc.x(l.asked)-4, y+laneHeight-4, "lane end", fmt.Sprintf("%d serves", l.generation))
		}
		p.text(sc.x(gone)+4, y+laneHeight-4, "lane", fmt.Sprintf("%d gone", l.generation))
	}
}

// generationHues is how many colours there are to tell generations apart.
const generationHues = 4

func drawRequests(p *pen, r *result, bs []bucket, sc scales, top float64) {
	p.text(marginLeft-8, top-11, "name end", "answers/s")
	perSecond := float64(time.Second / bucketWidth)
	for _, part := range []float64{0, 0.5, 1} {
		y := top + requestsHeight*(1-part)
		p.f(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="grid"/>`, marginLeft, marginLeft+plotWidth, y, y)
		p.text(marginLeft-8, y+4, "tick end", fmt.Sprintf("%.0f", sc.requests*part*perSecond))
	}
	width := sc.x(bucketWidth) - marginLeft
	for i, b := range bs {
		y := top + requestsHeight
		bar := func(n int, class string) {
			if n > 0 {
				h := requestsHeight * float64(n) / sc.requests
				y -= h
				p.f(`<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f" class="%s"/>`,
					marginLeft+float64(i)*width, y, max(width-0.4, 0.4), h, class)
			}
		}
		for _, l := range r.lives {
			bar(b.ByGen[l.generation], fmt.Sprintf("g%d", l.generation%generationHues))
		}
		bar(b.Failed, "lost")
	}
}

// drawFailed draws a strip of its own for the failures, where a few among hundreds are still seen, with their number
// for each group of buckets that have some.
func drawFailed(p *pen, bs []bucket, sc scales, top float64) {
	p.text(marginLeft-8, top+12, "name end", "failed")
	width := sc.x(bucketWidth) - marginLeft
	p.f(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="grid"/>`,
		marginLeft, marginLeft+plotWidth, top+15, top+15)
	const together = 5 // buckets without a failure that still belong to a group
	any := false
	for i := 0; i < len(bs); i++ {
		if bs[i].Failed == 0 {
			continue
		}
		any = true
		from, to, n := i, i, 0
		for ; i < len(bs) && i <= to+together; i++ {
			if bs[i].Failed > 0 {
				to, n = i, n+bs[i].Failed
				p.f(`<rect x="%.2f" y="%.1f" width="%.2f" height="11" class="lost"/>`,
					marginLeft+float64(i)*width, top+4, max(width-0.4, 1.5))
			}
		}
		i--
		p.text(marginLeft+(float64(from+to+1)/2)*width, top+27, "lostn mid", fmt.Sprint(n))
	}
	if !any {
		p.text(marginLeft+4, top+11, "none", "none")
	}
}

func drawLatency(p *pen, bs []bucket, sc scales, top float64) {
	p.text(marginLeft-8, top-11, "name end", "latency")
	for _, d := range sc.latency.decades() {
		y := top + sc.latency.y(d)
		p.f(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="grid"/>`, marginLeft, marginLeft+plotWidth, y, y)
		p.text(marginLeft-8, y+4, "tick end", unitApart(d))
	}
	width := sc.x(bucketWidth) - marginLeft
	lines := []struct {
		class string
		of    func(bucket) time.Duration
	}{
		{"max", func(b bucket) time.Duration { return b.Max }},
		{"p99", func(b bucket) time.Duration { return b.P99 }},
		{"p50", func(b bucket) time.Duration { return b.P50 }},
	}
	for _, line := range lines {
		var path strings.Builder
		down := false
		for i, b := range bs {
			d := line.of(b)
			if d == 0 { // nothing was answered: a gap, not a guess
				down = false
				continue
			}
			cmd := "L"
			if !down {
				cmd = "M"
			}
			x, y := marginLeft+(float64(i)+0.5)*width, top+sc.latency.y(d)
			fmt.Fprintf(&path, "%s%.1f %.1f", cmd, x, y)
			if !down {
				fmt.Fprintf(&path, "h.1") // so that a lone bucket shows
			}
			down = true
		}
		p.f(`<path d="%s" class="%s"/>`, path.String(), line.class)
	}
}

// unitApart writes "10ms" as "10 ms".
func unitApart(d time.Duration) string {
	s := d.String()
	n := len(strings.TrimRight(s, "nµms"))
	return s[:n] + " " + s[n:]
}
