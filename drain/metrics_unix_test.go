//go:build unix

package drain_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/listener"
)

// The whole text for one status: whoever changes it breaks somebody's dashboard.
func TestMetricsOfAStatus(t *testing.T) {
	t.Parallel()
	st := drain.Status{
		Generation: 3, PID: 30, Phase: drain.Ready, Since: time.UnixMilli(1_700_000_000_250),
		Open: listener.Counts{Idle: 5, Active: 2, Moved: 9},
		Older: []drain.Peer{{
			Generation: 1, PID: 10, Phase: drain.Draining, Since: time.UnixMilli(1_600_000_000_000),
			Deadline: time.UnixMilli(1_600_000_030_000),
			Hurried:  true, Open: listener.Counts{Hijacked: 1}, Tasks: 3,
		}},
		Version: "v\\3\"é\n\xff",
		History: []drain.Record{{Generation: 1, Version: "v1"}, {Generation: 2, Version: "v2", Err: "no"},
			{Generation: 3, Version: "bad", Err: "no"}},
		LastSwap: &drain.SwapResult{At: time.UnixMilli(1_700_000_000_500), Err: "no"},
		Total:    drain.Totals{Adopted: 7, Moved: 8, Lost: 1, Swaps: 2, FailedSwaps: 4},
	}
	var b strings.Builder
	must(t, st.WriteMetrics(&b))
	for _, want := range []string{
		`# TYPE baton_connections gauge`,
		`baton_generation_info{generation="3",pid="30",role="main",version="v\\3\"é\n?"} 1`,
		`baton_generation_info{generation="1",pid="10",role="older",version="v1"} 1`,
		`baton_phase{generation="3",phase="ready"} 1`,
		`baton_phase{generation="3",phase="draining"} 0`,
		`baton_phase{generation="1",phase="draining"} 1`,
		`baton_phase_start_timestamp_seconds{generation="3"} 1700000000.25`,
		`baton_drain_deadline_timestamp_seconds{generation="1"} 1600000030`,
		`baton_drain_hurried{generation="1"} 1`,
		`baton_connections{generation="3",state="idle"} 5`,
		`baton_connections{generation="3",state="hijacked"} 0`,
		`baton_connections{generation="1",state="hijacked"} 1`,
		`baton_background_tasks{generation="1"} 3`,
		`baton_pulled 0`,
		`baton_last_swap_successful 0`,
		`baton_last_swap_timestamp_seconds 1700000000.5`,
		`baton_pull_noticed 0`,
		`# TYPE baton_connections_lost_total counter`,
		`baton_connections_lost_total 1`,
		`baton_connections_adopted_total 7`,
		`baton_connections_handed_over_total 8`,
		`baton_swaps_total{result="success"} 2`,
		`baton_swaps_total{result="failure"} 4`,
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	for _, not := range []string{`deadline_timestamp_seconds{generation="3"`, `hurried{generation="3"`} {
		if strings.Contains(b.String(), not) {
			t.Errorf("%s says what is not so", not)
		}
	}
	if t.Failed() {
		t.Log(b.String())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestMetricsSayWhenTheyCanNotBeWritten(t *testing.T) {
	t.Parallel()
	if err := (drain.Status{}).WriteMetrics(full{}); err == nil {
		t.Error("no error")
	}
}

func TestControlAnswersWithMetrics(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung}, withControl)
	c := s.lingering()
	s.swap()
	s.olderAre(1, 1)
	status, h, body := s.curl("GET", "/metrics")
	if status != 200 || h.Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("%d %v", status, h)
	}
	for _, want := range []string{`baton_phase{generation="2",phase="ready"} 1`,
		`baton_connections{generation="1",state="hijacked"} 1`, `baton_swaps_total{result="success"} 1`} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no line %s in\n%s", want, body)
		}
	}
	ctx, done := context.WithTimeout(context.Background(), hung)
	defer done()
	text, err := drain.Control(ctx, s.plan.Control, "metrics")
	if pid := fmt.Sprintf(`pid="%d"`, s.main().PID); err != nil || !strings.Contains(string(text), pid) {
		t.Errorf("%q, %v; want %s", text, err, pid)
	}
	if status, _, _ := s.curl("POST", "/metrics"); status != 405 {
		t.Errorf("POST /metrics answers %d", status)
	}
	_ = c.Close()
	s.stop()
}

var counterLine = regexp.MustCompile(`(?m)^(baton_\w+_total\S*) (\d+)$`)

// TestScrapes has somebody scrape a service without a pause while it is swapped and swaps fail.
func TestScrapes(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung})
	client := &http.Client{Timeout: 2 * hung, Transport: &http.Transport{MaxConnsPerHost: 1}}
	ask := func(method string) (*http.Response, string) {
		req := have(http.NewRequest(method, "http://"+s.address()+"/metrics", nil))(s)
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return new(http.Response), ""
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp, string(text)
	}
	for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "DELETE", "ODD"} {
		resp, text := ask(method)
		status, header, want := 405, "Allow", "GET, HEAD"
		if method == "GET" || method == "HEAD" {
			status, header, want = 200, "Content-Type", "text/plain; version=0.0.4; charset=utf-8"
		}
		if resp.StatusCode != status || resp.Header.Get(header) != want || (text == "") != (method == "HEAD") {
			t.Errorf("%s answers %s, %s: %q, %d bytes", method, resp.Status, header, resp.Header.Get(header), len(text))
		}
	}

	l := s.drive(4, 4*time.Millisecond)
	var over atomic.Bool
	last := make(chan map[string]int)
	go func() {
		was := map[string]int{}
		for done := false; !done; {
			done = over.Load()
			_, text := ask("GET")
			now := map[string]int{}
			for _, m := range counterLine.FindAllStringSubmatch(text, -1) {
				now[m[1]], _ = strconv.Atoi(m[2])
			}
			for name, n := range was {
				if now[name] < n {
					t.Errorf("%s falls from %d to %d", name, n, now[name])
				}
			}
			was = now
		}
		last <- was
	}()
	for range 3 {
		s.swap()
		s.failSwap("ready fails")
	}
	over.Store(true)
	got := <-last
	l.end()
	if got[`baton_swaps_total{result="success"}`] != 3 || got[`baton_swaps_total{result="failure"}`] != 3 ||
		got["baton_connections_adopted_total"] == 0 {
		t.Errorf("in the end %v; want 3 swaps and 3 that failed", got)
	}
	s.stop()
}
