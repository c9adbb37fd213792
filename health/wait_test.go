package health

import (
	"strings"
	"testing"
	"time"
)

// What a pull waits for is said in words, and how that has ended. Without visitors it waits for those alone who
// have come twice.
func TestWhatAPullWaitsFor(t *testing.T) {
	every := func(n int, agent string) func(*State) {
		return func(s *State) {
			for range n {
				probeAs(s, outsider, agent)
				time.Sleep(2 * time.Second)
			}
		}
	}
	all := func(fs ...func(*State)) func(*State) {
		return func(s *State) {
			for _, f := range fs {
				f(s)
			}
		}
	}
	browser := func(s *State) { probeAs(s, outsider, "Mozilla/5.0 "+strings.Repeat("x", 100)) }
	for name, tc := range map[string]struct {
		cfg            Config
		before, during func(*State)
		want, without  string        // what it waits for, with visitors and without
		until          time.Duration // without them, after the pull; 0: at once
		end            Outcome
	}{
		"nobody":    {},
		"a visitor": {before: every(1, "curl"), want: "192.0.2.7 curl (asked once, 0 of 3 failing answers)"},
		"a browser that asks once": {before: browser,
			want: "192.0.2.7 Mozilla/5.0 " + strings.Repeat("x", 28) + "… (asked once, 0 of 3 failing answers)"},
		"four visitors": {
			before: all(every(1, "a"), browser, func(s *State) { probe(s, balancer); probe(s, "10.0.0.2:1") }),
			want:   "and 1 more"},
		"one who comes back": {before: every(2, "curl"),
			want:    "192.0.2.7 curl (asks now and then, 0 of 3 failing answers)",
			without: "192.0.2.7 curl (asks", until: 3 * time.Second},
		"a balancer": {before: all(every(4, "b"), browser), during: every(2, "b"), want: "Mozilla",
			without: "192.0.2.7 b (every 2s, 0 of 3 failing answers)", until: 30 * time.Second, end: Overdue},
		"a balancer that has noticed": {before: every(4, "b"), during: every(3, "b"), want: "b (every 2s",
			without: "b (every 2s, 0 of 3 failing answers)", until: 30 * time.Second, end: Noticed},
		"a balancer that stops asking": {before: every(4, "b"), during: every(1, "b"), want: "b (every 2s",
			without: "b (every 2s", until: 30 * time.Second, end: Noticed},
		"PullMin": {cfg: Config{PullMin: 20 * time.Second}, want: "PullMin",
			without: "PullMin", until: 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.end == Overdue {
				tc.cfg.PullMax, tc.until = 3*time.Second, 3*time.Second
			}
			bubble(t, tc.cfg, func(t *testing.T, s *State) {
				if tc.before != nil {
					tc.before(s)
				}
				s.Pull()
				begun := time.Now()
				if w, _ := s.Awaits(); !strings.Contains(w.For, tc.want) || tc.want == "" && w.For != "" {
					t.Errorf("it waits for %q, want %q", w.For, tc.want)
				}
				s.DropVisitors()
				w, waits := s.Awaits()
				if waits != (tc.without != "") || !strings.Contains(w.For, tc.without) {
					t.Errorf("without visitors it waits for %q, want %q", w.For, tc.without)
				}
				until := w.Until.Sub(begun)
				if waits && (!w.Since.Equal(begun) || until > tc.until || until < tc.until/3) {
					t.Errorf("without visitors it waits since %v until %v; want %v", w.Since, w.Until, tc.until)
				}
				if tc.during != nil {
					meanwhile(t, func() { tc.during(s) })
				}
				<-s.Noticed()
				if tc.end == "" {
					tc.end = Unasked
				}
				if got := s.Outcome(); got != tc.end {
					t.Errorf("it ends as %q, want %q", got, tc.end)
				}
			})
		})
	}
}
