//go:build linux

package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestAShortRun: what is asserted is the order of events, and what was lost; how long things took is the
// command's matter. Where no connection comes in, the failing answers are all that the service has to go by.
func TestAShortRun(t *testing.T) {
	flow.Tool(t, "haproxy", "apt-get install haproxy")
	for name, args := range map[string]string{
		"many connections":   "",
		"no new connections": " -reuse always -keep 1 -fresh 0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, err := parseFlags(strings.Fields("-intervals 1s -falls 2 -sleep 500ms"+args), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			trials, err := measure(t.Context(), cfg, t.Logf)
			if err != nil {
				t.Fatal(err)
			}
			p := pairs(cfg.sleep, trials)[0]
			if p.aware.quit < p.aware.out-slack || p.aware.lost > 0 || p.aware.requests == 0 {
				t.Errorf("%+v: want it to have noticed after HAProxy, and none lost", p.aware)
			}
			if p.slept.quit > p.slept.out || p.slept.lost == 0 {
				t.Errorf("%+v: want it to be over before HAProxy took it out, and some lost", p.slept)
			}
		})
	}
}

func TestParseDown(t *testing.T) {
	const line = "<1>2026-11-21T13:06:04.627080+00:00 Server drain-1s-x2/node is DOWN, " +
		`reason: Layer7 wrong status, code: 501, info: "Not Implemented", check duration: 0ms. ` +
		"1 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue.\n"
	backend, at, ok := parseDown(line)
	want := time.Date(2026, 11, 21, 13, 6, 4, 627080000, time.UTC)
	if !ok || backend != "drain-1s-x2" || !at.Equal(want) {
		t.Errorf("%q, %v, %v", backend, at, ok)
	}
	for _, other := range []string{
		"", strings.Replace(line, "DOWN", "UP", 1), strings.Replace(line, "/node", "/peer", 1),
		strings.Replace(line, "2026-11-21T", "", 1),
	} {
		if _, _, ok := parseDown(other); ok {
			t.Errorf("%q passes for a node that is taken out", other)
		}
	}
}

func TestHeard(t *testing.T) {
	n := &node{events: map[string]time.Time{}, changed: make(chan struct{})}
	n.heard(`time=2026-11-21T13:06:05.588Z level=INFO msg="pull noticed" ` +
		"kind=pull-noticed version=dev generation=1 pid=20372")
	n.heard(`time=2026-11-21T13:06:05.589Z level=INFO msg=draining kind=draining version=dev generation=1 pid=20372`)
	n.heard(`time=2026-11-21T13:06:09.000Z level=INFO msg=draining kind=draining version=dev generation=1 pid=20372`)
	n.heard(`time=yesterday level=INFO msg=stopped kind=stopped version=dev generation=1 pid=20372`)
	at, err := n.event(t.Context(), "kind=pull-noticed", "kind=draining")
	if want := time.Date(2026, 11, 21, 13, 6, 5, 588e6, time.UTC); err != nil || !at.Equal(want) {
		t.Errorf("noticed %v, %v", at, err)
	}
	at, err = n.event(t.Context(), "kind=draining")
	if want := time.Date(2026, 11, 21, 13, 6, 5, 589e6, time.UTC); err != nil || !at.Equal(want) {
		t.Errorf("draining %v, %v: want the first", at, err)
	}
	if _, ok := n.events["kind=stopped"]; ok {
		t.Error("a line without a time counts")
	}
}

func TestFlags(t *testing.T) {
	cfg, err := parseFlags(nil, io.Discard)
	if err != nil || len(cfg.cells) != 8 || cfg.cells[0] != (cell{time.Second, 2}) ||
		cfg.cells[7] != (cell{10 * time.Second, 3}) {
		t.Errorf("%+v, %v", cfg, err)
	}
	for args, want := range map[string]string{
		"-intervals 1":           "-intervals",
		"-intervals 1ms":         "-intervals",
		"-falls 0":               "-falls",
		"-falls two":             "-falls",
		"-sleep 0s":              "-sleep",
		"-keep 0 -fresh 0":       "-keep",
		"-keep -1":               "-keep",
		"-reuse sometimes":       "-reuse",
		"-sleep 5s and the rest": "and",
	} {
		if _, err := parseFlags(strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to name %s", args, err, want)
		}
	}
}
