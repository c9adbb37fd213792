//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// pair is both ways in one cell.
type pair struct {
	cell
	sleep        time.Duration // of the script
	aware, slept result
}

// later returns how long after HAProxy took the node out the service stopped accepting, in probe intervals.
func (p pair) later() float64 {
	return (p.aware.quit - p.aware.out).Seconds() / p.interval.Seconds()
}

// wasted returns for how long a node ran on that HAProxy had taken out already.
func (r result) wasted() time.Duration { return max(0, r.quit-r.out) }

// tooShort: HAProxy may still send requests when the script has slept.
func (p pair) tooShort() bool { return p.eject() > p.sleep }

// slack is what a HAProxy gets to act on an answer, on a machine that has no time for it: the notice comes
// 100 ms after the last one. One failing answer too soon or too late would be an interval, a second and more.
const slack = 500 * time.Millisecond

// wrong returns what is not as promised.
func (p pair) wrong(redispatch bool) (wrong []string) {
	say := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%v: "+format, append([]any{p.cell}, args...)...))
	}
	switch later := p.aware.quit - p.aware.out; {
	case later < -slack:
		say("the service noticed %v before HAProxy took the node out", p.aware.out-p.aware.quit)
	case later > p.interval+slack:
		say("the service noticed %.3f intervals after HAProxy took the node out, want at most 1", p.later())
	}
	if p.aware.lost > 0 {
		say("the probe-aware pull lost %d of %d requests", p.aware.lost, p.aware.requests)
	}
	switch {
	case p.tooShort() && p.slept.quit > p.slept.out:
		say("HAProxy took the node out after %v, within the sleep: that shows nothing", p.slept.out)
	case p.tooShort() && p.slept.lost == 0 && !redispatch:
		say("the sleep lost none of %d requests: that shows nothing", p.slept.requests)
	case p.eject() < p.sleep && p.slept.lost > 0:
		say("the sleep lost %d of %d requests though HAProxy had taken the node out", p.slept.lost, p.slept.requests)
	}
	return wrong
}

// pairs puts the trials of a cell together.
func pairs(sleep time.Duration, trials []*trial) (ps []pair) {
	for _, t := range trials {
		if len(ps) == 0 || ps[len(ps)-1].cell != t.cell {
			ps = append(ps, pair{cell: t.cell, sleep: sleep})
		}
		if p := &ps[len(ps)-1]; t.way == probeAware {
			p.aware = t.result
		} else {
			p.slept = t.result
		}
	}
	return ps
}

// table is in Markdown.
func table(ps []pair) string {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
	rows := [][]string{
		{
			"interval × fall", "HAProxy: out after", "service: noticed after", "later, in intervals",
			"lost", "waited in vain",
			fmt.Sprintf("sleep %v: HAProxy: out after", ps[0].sleep), "lost", "waited in vain",
		},
		{"---", "---", "---", "---", "---", "---", "---", "---", "---"},
	}
	for _, p := range ps {
		rows = append(rows, []string{
			p.cell.String(), seconds(p.aware.out), seconds(p.aware.quit), fmt.Sprintf("%.2f", p.later()),
			fmt.Sprintf("%d of %d", p.aware.lost, p.aware.requests), seconds(p.aware.wasted()),
			seconds(p.slept.out), fmt.Sprintf("%d of %d", p.slept.lost, p.slept.requests), seconds(p.slept.wasted()),
		})
	}
	var b strings.Builder
	for _, row := range rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	return b.String()
}

const tableBegin, tableEnd = "<!-- pull -->\n", "<!-- /pull -->"

// replaceTable returns the text of a Markdown file with another table.
func replaceTable(text, table string) (string, error) {
	before, rest, found := strings.Cut(text, tableBegin)
	_, after, closed := strings.Cut(rest, tableEnd)
	if !found || !closed {
		return "", fmt.Errorf("it has no %q and %q", tableBegin, tableEnd)
	}
	return before + tableBegin + table + tableEnd + after, nil
}

// tell prints what was found, writes the files, and returns the exit code.
func tell(w io.Writer, cfg config, trials []*trial) int {
	ps := pairs(cfg.sleep, trials)
	fmt.Fprintf(w, "\n%s\n", table(ps))
	if err := write(cfg, ps); err != nil {
		fmt.Fprintln(os.Stderr, "pull:", err)
		return 2
	}
	var wrong []string
	requests := 0
	for _, p := range ps {
		wrong = append(wrong, p.wrong(cfg.redispatch)...)
		requests += p.aware.requests
	}
	if len(wrong) > 0 {
		fmt.Fprintln(w, strings.Join(wrong, "\n"))
		return 1
	}
	fmt.Fprintf(w, "Never earlier than HAProxy, never more than one interval later, "+
		"within the %v that a busy machine needs; 0 of %d requests lost.\n", slack, requests)
	return 0
}

func write(cfg config, ps []pair) error {
	if cfg.table != "" {
		old, err := os.ReadFile(cfg.table)
		if err != nil {
			return err
		}
		text, err := replaceTable(string(old), table(ps))
		if err != nil {
			return fmt.Errorf("%s: %w", cfg.table, err)
		}
		if err := os.WriteFile(cfg.table, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if cfg.svg == "" {
		return nil
	}
	f, err := os.Create(cfg.svg)
	if err != nil {
		return err
	}
	err = draw(f, ps)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
