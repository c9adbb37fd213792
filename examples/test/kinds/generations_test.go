//go:build linux

package kinds

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestGenerations lets sessions of every generation live on through all later
// swaps, and reads of them what Prometheus would.
func TestGenerations(t *testing.T) {
	t.Parallel()
	const swaps = 10
	b := newBed(t, "metrics", "-max-generations", strconv.Itoa(swaps+1))
	b.Generations = swaps + 1
	kind := flow.Kind{Name: "hijacked, stays with its generation",
		Client: "a session of each of 11 generations, lines", Resumed: -1}
	var mu sync.Mutex // guards kind
	var sessions sync.WaitGroup
	open := func(generation int) {
		s, err := newSession(b.Addr)
		if err != nil {
			t.Fatal(err)
		}
		sessions.Go(func() {
			defer s.Close()
			for left := 3; left > 0; { // some lines while nobody listens any more
				think(40 * time.Millisecond)
				err := s.line(generation)
				mu.Lock()
				kind.Sent++
				if err != nil {
					kind.Lost++
					kind.Closed++
					t.Errorf("session of generation %d after swap %d: %v", generation, b.swaps.Load(), err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
				select {
				case <-b.draining:
					left--
				default:
				}
			}
		})
	}
	open(1)
	for i := 1; i <= swaps; i++ {
		before := b.PID()
		b.Swaps(1)
		b.swaps.Add(1)
		flow.Eventually(t, fmt.Sprintf("generation %d to listen no more", i), func() bool {
			return !listens(t, before)
		})
		open(i + 1)
	}

	flow.Eventually(t, "metrics of eleven generations", func() bool {
		m := scrape(t, "http://"+b.Addr+"/metrics")
		for gen := 1; gen <= swaps+1; gen++ {
			if m.value(`baton_connections{generation="%d",state="hijacked"}`, gen) != 1 {
				return false
			}
		}
		return true
	})
	m := scrape(t, "http://"+b.Addr+"/metrics")
	before := math.Inf(-1)
	for gen := 1; gen <= swaps; gen++ {
		since, deadline := m.value(`baton_phase_start_timestamp_seconds{generation="%d"}`, gen),
			m.value(`baton_drain_deadline_timestamp_seconds{generation="%d"}`, gen)
		if m.value(`baton_phase{generation="%d",phase="draining"}`, gen) != 1 ||
			m.value(`baton_drain_hurried{generation="%d"}`, gen) != 0 ||
			math.Abs(deadline-since-drainTimeout.Seconds()) > 1 || deadline <= before {
			t.Errorf("generation %d drains from %f until %f; want %v, and its own", gen, since, deadline, drainTimeout)
		}
		before = deadline
	}
	for _, want := range []struct {
		of    string
		value float64
	}{
		{`baton_phase{generation="11",phase="ready"}`, 1},
		{`baton_swaps_total{result="success"}`, swaps},
		{`baton_swaps_total{result="failure"}`, 0},
		{`baton_connections_lost_total`, 0},
		{`sessions_total`, swaps + 1},
	} {
		if got, ok := m[want.of]; !ok || got != want.value {
			t.Errorf("%s is %v, want %v", want.of, got, want.value)
		}
	}
	if main := fmt.Sprintf(`baton_generation_info{generation="11",pid="%d",role="main"`, b.PID()); !slices.ContainsFunc(
		slices.Collect(maps.Keys(m)), func(of string) bool { return strings.HasPrefix(of, main) }) {
		t.Errorf("no %s…}", main)
	}
	printed, err := exec.Command(b.Path("app"), "-control", b.Path("control"), "-s", "metrics").Output()
	if err != nil {
		t.Error(err)
	}
	if m := parse(t, strings.NewReader(string(printed))); m.value(`baton_swaps_total{result="success"}`) != swaps {
		t.Errorf("-s metrics prints\n%s", printed)
	}

	b.finish()
	sessions.Wait()
	kind.Report(t)
}

// listens tells whether the process has a listening TCP socket: until it has closed that, new connections may
// be its own.
func listens(t *testing.T, pid int) bool {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", pid)
	table, err := os.ReadFile(proc + "net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	inodes := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
	fds, err := filepath.Glob(proc + "fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && inodes[target] {
			return true
		}
	}
	return false
}

// session is a connection with a program of ours on the other end.
type session struct {
	net.Conn
	r *bufio.Reader
	n int
}

func newSession(addr string) (*session, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(drainTimeout))
	_, err = io.WriteString(conn,
		"GET /session HTTP/1.1\r\nHost: kinds\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
	s := &session{Conn: conn, r: bufio.NewReader(conn)}
	if err == nil {
		var res *http.Response
		if res, err = http.ReadResponse(s.r, nil); err == nil && res.StatusCode != http.StatusSwitchingProtocols {
			err = fmt.Errorf("%s", res.Status)
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

// line sends one, and wants the answer from that generation.
func (s *session) line(generation int) error {
	s.n++
	if _, err := fmt.Fprintf(s, "line %d\n", s.n); err != nil {
		return err
	}
	got, err := s.r.ReadString('\n')
	if want := fmt.Sprintf("%d line %d\n", generation, s.n); err == nil && got != want {
		err = fmt.Errorf("the answer is %q, want %q", got, want)
	}
	return err
}

// samples are what was scraped, by name and labels.
type samples map[string]float64

func (m samples) value(format string, args ...any) float64 {
	v, ok := m[fmt.Sprintf(format, args...)]
	if !ok {
		return math.NaN()
	}
	return v
}

func scrape(t *testing.T, url string) samples {
	t.Helper()
	client := &http.Client{Timeout: flow.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if format := expfmt.ResponseFormat(res.Header); format.FormatType() != expfmt.TypeTextPlain {
		t.Errorf("Content-Type %q is not that of the text format", res.Header.Get("Content-Type"))
	}
	return parse(t, res.Body)
}

// parse reads what Prometheus' own parser makes of it.
func parse(t *testing.T, r io.Reader) samples {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		t.Fatal(err)
	}
	m := samples{}
	for name, f := range families {
		if f.GetHelp() == "" || !strings.HasPrefix(name, "baton_") && name != "sessions_total" ||
			strings.HasSuffix(name, "_total") != (f.GetType().String() == "COUNTER") {
			t.Errorf("%s is a %s with help %q", name, f.GetType(), f.GetHelp())
		}
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			key := name
			if len(labels) > 0 {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			m[key] = s.GetGauge().GetValue() + s.GetCounter().GetValue()
		}
	}
	return m
}
