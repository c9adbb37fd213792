//go:build unix

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// row is one line of the table: its name and a cell for each run.
type row struct {
	name  string
	cells []string
}

// rows are the figures of the table and of the page.
func rows(results []*result) []row {
	var rows []row
	add := func(name string, cell func(*result) string) {
		r := row{name: name}
		for _, res := range results {
			r.cells = append(r.cells, cell(res))
		}
		rows = append(rows, r)
	}
	ours := results[0]
	var rival *result
	if i := slices.IndexFunc(results, func(r *result) bool { return !r.ours }); i >= 0 {
		rival = results[i]
	}

	add("requests", func(r *result) string { return fmt.Sprintf("%d (%.0f/s)", r.requests, r.perSecond) })
	if ours.cfg.acts["swaps"] {
		add("swaps", func(r *result) string { return fmt.Sprintf("%d of %d", r.swapped, r.cfg.swaps) })
	}
	add("failed requests before the stop", func(r *result) string { return counted(r.failedSum, r.failed) })
	add("failed requests at the stop", func(r *result) string { return counted(r.stopSum, r.stopFailed) })
	add(fmt.Sprintf("reconnects of the %d keep-alive clients", ours.cfg.Clients),
		func(r *result) string { return strconv.Itoa(r.reconnects) })
	if ours.cfg.Kept()-ours.cfg.Clients > 0 {
		add("reconnects of the idle, slow and odd clients",
			func(r *result) string { return strconv.Itoa(r.reconnected) })
	}
	add("sent elsewhere by the balancer", func(r *result) string {
		if r.stats == nil {
			return "–"
		}
		return strconv.Itoa(r.stats.elsewhere)
	})
	add("lost by the service's own ledger", func(r *result) string {
		if !r.ours {
			return "keeps none"
		}
		return fmt.Sprintf("%d (%d of %d generations)", r.ledger, r.ledgerOf, len(r.lives))
	})
	if ours.cfg.acts["faults"] {
		add("broken binaries refused", func(r *result) string {
			if !r.cfg.acts["faults"] || !r.ours {
				return "–"
			}
			return fmt.Sprintf("%d of 3", len(r.refusals))
		})
	}
	if ours.cfg.acts["swaps"] {
		add("signal to first answer of the new one", func(r *result) string { return spread(r.swapTime) })
		add("  of it probation", func(r *result) string {
			if !r.ours {
				return "has none"
			}
			return r.cfg.probation.String()
		})
		add("  from one swap to the next", func(r *result) string {
			if len(r.pace) == 0 {
				return "–"
			}
			return ms(quantile(r.pace, 0.5)).String()
		})
		if x := ratio(ours, rival); !math.IsNaN(x) {
			add("  without probation, compared with tableflip", func(r *result) string {
				switch {
				case !r.ours:
					return "1.00"
				case r.cfg.secure != nil:
					return "–"
				}
				return fmt.Sprintf("%.2f", x)
			})
		}
		add("promotion to the old one's last answer¹", func(r *result) string { return spread(r.oldAnswer) })
		add("promotion to the old one's exit²", func(r *result) string { return spread(r.oldGone) })
		add("worst latency around a swap³", func(r *result) string { return ms(r.worst).String() })
	}
	add("latency otherwise: p50, p99, worst", func(r *result) string {
		return fmt.Sprintf("%v, %v, %v", ms(r.p50), ms(r.p99), ms(r.maxAway))
	})
	add("exit codes", func(r *result) string {
		if r.exits == 0 {
			return "not seen"
		}
		return fmt.Sprintf("%d of %d seen, %d of them 0", r.exits, len(r.lives), r.clean)
	})
	return rows
}

// notes explain the rows that carry a mark.
func notes(c config) []string {
	if !c.acts["swaps"] {
		return nil
	}
	inFlight := "with no long request in flight"
	if n := c.Slow + 4*c.Odd; n > 0 {
		inFlight = fmt.Sprintf("with %d long requests in flight, which it finishes first", n)
	}
	return []string{
		"¹ to a keep-alive client: by then each of them is served by the new one. Median and worst of all swaps.",
		"² " + inFlight + ". Median and worst.",
		fmt.Sprintf("³ of the keep-alive clients and the new connections, "+
			"from %v before the signal to %v after the promotion.", around, around),
		"  tableflip runs as its own http example has it; an orderly stop on TERM was added. " +
			"It has no word for balancers, so",
		"  that its clients are refused from the stop until the balancer has noticed.",
	}
}

// name is what a reader is told that a side is.
func (s *side) name() string {
	switch {
	case s.cfg.secure != nil:
		return "baton, HTTPS"
	case s.ours:
		return "baton"
	}
	return "tableflip, its documented way"
}

func counted(n int, byKind [outcomes]int) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", n, kinds(byKind))
}

// spread writes sorted durations as median and worst.
func spread(ds []time.Duration) string {
	if len(ds) == 0 {
		return "–"
	}
	return fmt.Sprintf("%v, worst %v", ms(quantile(ds, 0.5)), ms(quantile(ds, 1)))
}

// printTable writes the figures in columns.
func printTable(w io.Writer, results []*result) {
	all := []row{{"", nil}}
	for _, r := range results {
		all[0].cells = append(all[0].cells, r.name())
	}
	all = append(all, rows(results)...)
	var widths []int
	width := func(i int, s string) {
		for len(widths) <= i {
			widths = append(widths, 0)
		}
		widths[i] = max(widths[i], utf8.RuneCountInString(s))
	}
	for _, r := range all {
		width(0, r.name)
		for i, c := range r.cells {
			width(i+1, c)
		}
	}
	pad := func(s string, n int) string { return s + strings.Repeat(" ", n-utf8.RuneCountInString(s)) }
	for _, r := range all {
		line := pad(r.name, widths[0])
		for i, c := range r.cells {
			line += "   " + pad(c, widths[i+1])
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	for _, n := range notes(results[0].cfg) {
		fmt.Fprintln(w, n)
	}
}
