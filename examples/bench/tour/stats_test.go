//go:build unix

package main

import (
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/visitors"
)

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, tt := range []struct {
		of   []time.Duration
		q    float64
		want time.Duration
	}{
		{nil, 0.5, 0},
		{hundred[:1], 0.5, 1},
		{hundred[:1], 0.99, 1},
		{hundred[:2], 0.5, 1},
		{hundred[:3], 0.5, 2},
		{hundred, 0, 1},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
	} {
		if got := quantile(tt.of, tt.q); got != tt.want {
			t.Errorf("quantile %v of %d: %v, want %v", tt.q, len(tt.of), got, tt.want)
		}
	}
}

func TestTouches(t *testing.T) {
	w := span{10, 20}
	for _, tt := range []struct {
		start, end time.Duration
		want       bool
	}{{1, 9, false}, {1, 10, true}, {1, 99, true}, {12, 13, true}, {20, 30, true}, {21, 30, false}} {
		if got := w.touches(record{end: tt.end, dur: tt.end - tt.start}); got != tt.want {
			t.Errorf("%v to %v: %v", tt.start, tt.end, got)
		}
	}
}

// The first answer of a generation is the earliest, whichever client reports first.
func TestFirstAnswer(t *testing.T) {
	s := newStats()
	for _, at := range []time.Duration{30, 10, 20} {
		s.answered(7, 2, at)
	}
	if a, _ := s.firstAnswer(7); a.at != 10 || a.generation != 2 {
		t.Errorf("%+v", a)
	}
	if _, ok := s.firstAnswer(8); ok {
		t.Error("8 never answered")
	}
}

// testSide is a run of two generations in which nothing went wrong.
func testSide() *side {
	gone := make(chan struct{})
	close(gone)
	st := newStats()
	rec := st.recorder()
	for i := range 100 {
		pid := int32(1)
		if i >= 50 {
			pid = 2
		}
		rec.add(record{end: time.Duration(i+1) * 10 * time.Millisecond, dur: time.Millisecond, pid: pid})
	}
	log := &logbook{lines: []logLine{
		{text: `time=x level=INFO msg=stopped generation=1 pid=1 lost=0`},
		{text: `time=x level=INFO msg=stopped generation=2 pid=2 lost=0`},
	}}
	exited := func(pid int) *proc { return &proc{pid: pid, gone: gone, seen: true} }
	return &side{
		title: "test", ours: true, stats: st, svc: &service{log: log}, stop: 900 * time.Millisecond, ended: time.Second,
		cfg: config{Mix: visitors.Mix{Clients: 1}, swaps: 1, acts: map[string]bool{"swaps": true}},
		lives: []*life{
			{pid: 1, generation: 1, superseded: 500 * time.Millisecond, gone: 510 * time.Millisecond, proc: exited(1)},
			{pid: 2, generation: 2, asked: 400 * time.Millisecond, promoted: 500 * time.Millisecond,
				first: 505 * time.Millisecond,
				gone:  time.Second, proc: exited(2)},
		},
	}
}

// Whatever goes wrong is told and makes the tour fail; when nothing does, it does not.
func TestVerdict(t *testing.T) {
	if ps := evaluate(testSide()).problems(); len(ps) > 0 {
		t.Fatalf("a run without fault has problems: %q", ps)
	}
	for _, tt := range []struct {
		name, want string
		spoil      func(s *side)
	}{
		{"a lost request", "1 requests failed (1 eof)", func(s *side) {
			s.stats.recorders[0].records[30].outcome = eof
		}},
		{"a request lost at the stop", "1 requests failed (1 refused)", func(s *side) {
			s.stats.recorders[0].records[99].outcome = refused
		}},
		{"a reconnect", "connection again 1 times", func(s *side) {
			s.stats.reconnects = append(s.stats.reconnects, reconnect{500 * time.Millisecond, visitors.KeepAlive})
		}},
		{"a reconnect during the stop", "connection again 1 times", func(s *side) {
			s.stats.reconnects = append(s.stats.reconnects, reconnect{950 * time.Millisecond, visitors.Idle})
		}},
		{"an entry in the ledger", "ledger has 3", func(s *side) {
			s.svc.log.lines[0].text = "generation=1 pid=1 lost=3"
		}},
		{"no ledger", "1 of 2 generations closed", func(s *side) {
			s.svc.log.lines = s.svc.log.lines[:1]
		}},
		{"an exit code", "generation 1 (pid 1) ended with exit code 2", func(s *side) { s.lives[0].proc.code = 2 }},
		{"a killed process", "ended with exit code killed", func(s *side) { s.lives[1].proc.code = -9 }},
		{"a swap that did not happen", "1 of 2 swaps", func(s *side) { s.cfg.swaps = 2 }},
		{"a stranger", "process 77 answered", func(s *side) { s.stats.answered(77, 3, 1) }},
		{"given up", "given up: EOF", func(s *side) { s.broke, s.cut = io.EOF, s.ended }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := testSide()
			tt.spoil(s)
			var out strings.Builder
			if code := verdict(&out, []*result{evaluate(s)}); code != 1 || !strings.Contains(out.String(), tt.want) {
				t.Errorf("exit code %d, %s", code, &out)
			}
		})
	}
}

// When a run is given up its processes are killed; what that costs is not laid at their door.
func TestGivenUp(t *testing.T) {
	s := testSide()
	s.broke, s.cut = io.EOF, 700*time.Millisecond
	s.stats.recorders[0].records[60].outcome = eof
	s.stats.recorders[0].records[80].outcome = reset
	s.lives[1].proc.code = -9
	if ps := evaluate(s).problems(); len(ps) != 2 || !strings.Contains(ps[1], "1 requests failed (1 eof)") {
		t.Errorf("%q", ps)
	}
}

func TestEvaluate(t *testing.T) {
	r := evaluate(testSide())
	if r.requests != 100 || r.swapped != 1 {
		t.Errorf("%d requests, %d swaps", r.requests, r.swapped)
	}
	for _, tt := range []struct {
		name      string
		got, want time.Duration
	}{
		{"swap time", r.swapTime[0], 105 * time.Millisecond},
		{"promotion", r.promoteTime[0], 100 * time.Millisecond},
		{"old gone", r.oldGone[0], 10 * time.Millisecond},
		{"old's last answer", r.oldAnswer[0], 0},
		{"worst", r.worst, time.Millisecond},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestRatioComparesSwapsOfOnePace(t *testing.T) {
	side := func(swap, pace time.Duration) *result {
		return &result{
			side:     &side{cfg: config{probation: 5}},
			swapTime: []time.Duration{swap},
			pace:     []time.Duration{pace},
		}
	}
	if x := ratio(side(25, 100), side(10, 110)); x != 2 {
		t.Errorf("%v; want 2", x)
	}
	for name, rival := range map[string]*result{"slower pace": side(10, 200), "faster pace": side(10, 50),
		"none": nil, "no swap": {}} {
		if x := ratio(side(25, 100), rival); !math.IsNaN(x) {
			t.Errorf("%s: %v; want none", name, x)
		}
	}
}

func TestAttr(t *testing.T) {
	const line = `time=2026-01-02T03:04:05Z level=ERROR msg="swap failed" version=1.0 pid=12 ` +
		`err="it said \"no\": exit status 3" lost=4`
	for key, want := range map[string]string{"msg": "swap failed", "pid": "12",
		"err": `it said "no": exit status 3`, "lost": "4", "id": "", "status": ""} {
		if got, _ := attr(line, key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	l := &logbook{lines: []logLine{{text: "pid=1 lost=2"}, {text: "pid=2 lost=1"}, {text: "pid=1 lost=5"},
		{text: "pid=3 moved=1"}}}
	if got := l.ledger(); len(got) != 2 || got[1] != 5 || got[2] != 1 {
		t.Errorf("ledger: %v", got)
	}
}
