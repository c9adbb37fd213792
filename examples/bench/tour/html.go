//go:build unix

package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

//go:embed timeline.html
var page string

// view is what the page shows.
type view struct {
	When, Machine, Load string
	Held                bool
	Problems            []string
	Figures             []figure
	Panels              []panel
	Titles              []string
	Rows                []row
	Notes               []string
	Refusals            []failedSwap
	BucketMS            int64
}

// figure is one of the large numbers at the top.
type figure struct {
	Title, Number, Text string
	Bad                 bool
}

// Cells and Name open a row to the template.
func (r row) Name() string    { return r.name }
func (r row) Cells() []string { return r.cells }

func (f failedSwap) What() string   { return f.what }
func (f failedSwap) Reason() string { return f.reason }
func (f failedSwap) Took() string   { return ms(f.took).String() }

// writeHTML writes the timeline as one page that needs no other file.
func writeHTML(file string, results []*result) error {
	ours := results[0]
	v := view{
		When:     time.Now().Format("2006-01-02 15:04"),
		Machine:  fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		Load:     ours.cfg.describe(),
		Problems: problems(results),
		Rows:     rows(results),
		Notes:    notes(ours.cfg),
		Refusals: ours.refusals,
		BucketMS: bucketWidth.Milliseconds(),
	}
	v.Held = len(v.Problems) == 0
	var runs [][]bucket
	var sc scales
	for _, r := range results {
		if r.stats == nil {
			continue
		}
		v.Titles = append(v.Titles, r.name())
		v.Figures = append(v.Figures, figure{
			Title:  r.name(),
			Number: fmt.Sprint(r.failedSum),
			Text: fmt.Sprintf("of %s requests lost in %d swaps, %d reconnects of %d keep-alive clients",
				grouped(r.requests), r.swapped, r.reconnects, r.cfg.Clients),
			Bad: r.failedSum+r.reconnects > 0,
		})
		bs := bucketsOf(r)
		runs = append(runs, bs)
		sc.duration = max(sc.duration, r.ended)
		for _, b := range bs {
			sc.requests = max(sc.requests, float64(b.answers()+b.Failed))
		}
	}
	sc.requests = niceCeil(sc.requests)
	sc.latency = logScaleOf(runs, latencyHeight)
	for i, bs := range runs {
		v.Panels = append(v.Panels, draw(results[i], bs, sc))
	}

	t, err := template.New("timeline").Parse(page)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// hover is what the page says about one bucket under the pointer.
type hover struct {
	Answers string `json:"a"`
	Failed  int    `json:"f"`
	P50     string `json:"p"`
	P99     string `json:"q"`
	Max     string `json:"m"`
}

func hovers(bs []bucket) []hover {
	hs := make([]hover, len(bs))
	for i, b := range bs {
		var gens []int
		for g := range b.ByGen {
			gens = append(gens, g)
		}
		slices.Sort(gens)
		var parts []string
		for _, g := range gens {
			parts = append(parts, fmt.Sprintf("%d by generation %d", b.ByGen[g], g))
		}
		hs[i] = hover{Answers: strings.Join(parts, ", "), Failed: b.Failed}
		if b.Max > 0 {
			hs[i].P50, hs[i].P99, hs[i].Max = ms(b.P50).String(), ms(b.P99).String(), ms(b.Max).String()
		}
	}
	return hs
}
