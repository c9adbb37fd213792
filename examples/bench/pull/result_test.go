//go:build linux

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

const second = time.Second

// good is what a run should find at 2 s × 3: 6 s, which a sleep of 5 s is too short for.
func good() pair {
	return pair{
		cell{2 * second, 3}, 5 * second,
		result{out: 6 * second, quit: 7 * second, requests: 100},
		result{out: 6 * second, quit: 5 * second, requests: 100, lost: 8},
	}
}

func TestVerdict(t *testing.T) {
	for name, tc := range map[string]struct {
		change     func(*pair)
		redispatch bool
		want       string // "" for nothing wrong
	}{
		"as promised":                {func(*pair) {}, false, ""},
		"noticed with HAProxy":       {func(p *pair) { p.aware.quit = p.aware.out }, false, ""},
		"noticed one interval later": {func(p *pair) { p.aware.quit = 8 * second }, false, ""},
		"noticed before HAProxy": {func(p *pair) { p.aware.quit = p.aware.out - 501*time.Millisecond }, false,
			"noticed 501ms before"},
		"noticed more than one later": {func(p *pair) { p.aware.quit = 8*second + 501*time.Millisecond }, false,
			"want at most 1"},
		"the pull lost one":              {func(p *pair) { p.aware.lost = 1 }, false, "lost 1 of 100"},
		"the sleep lost none":            {func(p *pair) { p.slept.lost = 0 }, false, "the sleep lost none"},
		"the sleep lost none, retried":   {func(p *pair) { p.slept.lost = 0 }, true, ""},
		"HAProxy was quicker than it is": {func(p *pair) { p.slept.out = 4 * second }, false, "within the sleep"},
		"a sleep that is long enough": {func(p *pair) {
			p.cell.fall, p.slept.out, p.slept.lost = 2, 4*second, 0
		}, false, ""},
		"it lost all the same": {func(p *pair) { p.cell.fall, p.slept.out = 2, 4*second }, false,
			"though HAProxy had taken"},
		"as long as the sleep": {func(p *pair) {
			p.interval, p.fall, p.slept.lost = 2500*time.Millisecond, 2, 0
		}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := good()
			tc.change(&p)
			got := p.wrong(tc.redispatch)
			if tc.want == "" && len(got) > 0 || tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestExitCodeAndTable(t *testing.T) {
	trials := func(lost int) []*trial {
		a, s := good().aware, good().slept
		a.lost = lost
		return []*trial{{cell: good().cell, way: probeAware, result: a}, {cell: good().cell, way: sleeping, result: s}}
	}
	var b strings.Builder
	if code := tell(&b, config{sleep: 5 * second}, trials(0)); code != 0 {
		t.Errorf("exit code %d:\n%s", code, &b)
	}
	row := "| 2 s × 3 | 6.00 s | 7.00 s | 0.50 | 0 of 100 | 1.00 s | 6.00 s | 8 of 100 | 0.00 s |\n"
	if !strings.Contains(b.String(), row) {
		t.Errorf("%s\nhas no line %s", &b, row)
	}
	if code := tell(io.Discard, config{sleep: 5 * second}, trials(1)); code != 1 {
		t.Errorf("exit code %d after a loss, want 1", code)
	}
	if code := tell(io.Discard, config{sleep: 5 * second, table: "/nonexistent"}, trials(0)); code != 2 {
		t.Errorf("exit code %d when the table can't be written, want 2", code)
	}
}

func TestReplaceTable(t *testing.T) {
	got, err := replaceTable("before\n"+tableBegin+"old\n"+tableEnd+"\nafter\n", "new\n")
	if want := "before\n" + tableBegin + "new\n" + tableEnd + "\nafter\n"; got != want || err != nil {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, text := range []string{"", tableBegin, tableEnd} {
		if _, err := replaceTable(text, ""); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestSegments(t *testing.T) {
	p := good()
	if got, want := p.aware.segments(), []segment{{0, 6, sending}, {6, 7, vain}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := p.slept.segments(), []segment{{0, 5, sending}, {5, 6, losing}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestFigureIsWellFormedAndSaysWhatWasLost(t *testing.T) {
	var b bytes.Buffer
	if err := draw(&b, []pair{good(), good()}); err != nil {
		t.Fatal(err)
	}
	var said []string
	for d := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if chars, ok := token.(xml.CharData); ok {
			said = append(said, string(chars))
		}
	}
	for _, want := range []string{"0 lost", "8 lost", "2 s × 3\u00a0\u00a0\u00a0drain", "sleep 5s"} {
		if !slices.Contains(said, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}
