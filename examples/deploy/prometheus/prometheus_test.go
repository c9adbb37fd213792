//go:build linux

package prometheus

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

const sessions = 3

// site is two nodes behind HAProxy: a mounts MetricsHandler, b serves the same by Prometheus' client library.
type site struct {
	a, b           *flow.Node
	adminA, adminB string
	addr           string // of HAProxy
	stats          string
}

func newSite(t *testing.T) *site {
	host := flow.Host()
	s := &site{addr: host + ":80", adminA: host + ":9091", adminB: host + ":9092",
		stats: filepath.Join(flow.Dir(t), "stats")}
	s.a = flow.NewNode(t, host+":8081", flow.Build(t, "chi", "v1", ""), "-admin", s.adminA)
	s.b = flow.NewNode(t, host+":8082", flow.Build(t, "metrics", "v1", ""), "-admin", s.adminB, "-max-generations", "4")
	s.b.Generations = 4
	s.a.Control("start")
	s.b.Control("start")
	config := strings.NewReplacer("timeout connect 1s", "timeout connect 10s\n\ttimeout check 10s").
		Replace(shipped(t, "../haproxy/haproxy.cfg"))
	proxy := exec.Command(flow.Tool(t, "haproxy", "apt-get install haproxy"), "-db", "-f",
		flow.WriteFile(t, flow.Dir(t), "haproxy.cfg", config))
	proxy.Env = append(os.Environ(), "BIND="+s.addr, "STATS="+s.stats, "NODE_A="+s.a.Addr, "NODE_B="+s.b.Addr,
		"INTER=300ms")
	flow.Start(t, proxy).Answers(t, s.addr)
	return s
}

// session opens a connection that stays with its generation.
func session(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, "GET /session HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s: a session: %v %v", addr, res, err)
	}
	return conn
}

var metricName = regexp.MustCompile(`\b(baton_\w+|up)\b`)

// TestPrometheus lets the real one watch two nodes that are swapped, swapped in vain, pulled, stopped and started under
// load, and compares what it has with what was done.
func TestPrometheus(t *testing.T) {
	s := newSite(t)
	begun := time.Now()
	p := start(t, flow.Host()+":9090", s.adminA, s.adminB)
	flow.Eventually(t, "both nodes are scraped", func() bool {
		n, ok := p.now("sum(up)")
		return ok && n == 2
	})
	load := flow.NewLoad(t, s.addr, 4, 2)
	work := time.Now()

	s.a.Control("reload")
	for range sessions { // each generation keeps a session
		session(t, s.b.Addr)
		s.b.Control("reload")
	}
	p.fires("BatonGenerationsPileUp", s.adminB)
	p.fires("BatonDrainTooLong", s.adminB)

	good := s.a.Path("app")
	broken := flow.WriteFile(t, flow.Dir(t), "broken", "#!/bin/sh\nexit 3\n")
	keep := flow.WriteFile(t, flow.Dir(t), "keep", "")
	flow.Deploy(t, good, keep)
	s.a.Deploy(broken)
	if said, code := s.reload(t); code == 0 {
		t.Errorf("a reload to a broken version: exit code 0\n%s", said)
	}
	s.a.Deploy(keep)
	p.fires("BatonSwapFailed", s.adminA)

	s.a.Control("pull")
	p.fires("BatonPulledTooLong", s.adminA)
	s.a.Control("restore")
	flow.Eventually(t, "a is back", func() bool {
		return flow.Servers(t, s.stats)["a"]["status"] == "UP"
	})

	s.b.Control("reload") // a fifth generation: the first one is told to leave, and its session is cut off
	p.fires("BatonRequestsLost", s.adminB)

	// What is counted after the last scrape is nowhere: so pull, wait for a scrape, and stop.
	s.a.Control("pull")
	flow.Eventually(t, "a is out, and idle", func() bool {
		a := flow.Servers(t, s.stats)["a"]
		return strings.HasPrefix(a["status"], "DOWN") && a["scur"] == "0"
	})
	p.scrapes()
	s.a.Control("stop")
	p.fires("BatonNeverReady", s.adminA)
	s.a.Control("start")
	flow.Eventually(t, "a is back", func() bool {
		return flow.Servers(t, s.stats)["a"]["status"] == "UP"
	})
	load.Flows(100)
	load.Report("Prometheus", "watches swaps, one that fails, a pull, a cut-off session, a restart", time.Since(work))

	p.scrapes()
	t.Run("sums", func(t *testing.T) { p.in(t).sums(begun, s.adminA, load.Requests()+sessions) })
	t.Run("alerts", func(t *testing.T) { p.in(t).fired(begun, s) })
	t.Run("panels", func(t *testing.T) { p.in(t).panels(begun) })
	for _, addr := range []string{s.adminA, s.adminB} {
		res, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		promtool(t, string(text), "check", "metrics")
	}
}

// reload is control.sh reload, however it ends.
func (s *site) reload(t *testing.T) (string, int) {
	cmd := exec.Command("dash", filepath.Join(flow.Examples(), "deploy", "control.sh"), "reload")
	cmd.Env = append(os.Environ(), s.a.Env()...)
	return flow.Run(t, cmd)
}

func (p *server) in(t *testing.T) *server { return &server{p.Process, t, p.addr} }

// sums compares the counters with what was done. They fall at the restart of a alone.
func (p *server) sums(begun time.Time, restarted string, requests int) {
	sum := func(selector string) (sum float64) {
		for _, s := range p.since(begun, selector) {
			falls, before := 0, 0.0
			for _, n := range s.numbers() {
				if n < before {
					falls++
					before = 0
				}
				sum += n - before
				before = n
			}
			if falls > 1 || falls == 1 && s.Metric["instance"] != restarted {
				p.t.Errorf("%v falls %d times", s.Metric, falls)
			}
		}
		p.t.Logf("%s: %v", selector, sum)
		return sum
	}
	if n := sum("baton_requests_total") - sum("baton_requests_aside_total"); n != float64(requests) {
		p.t.Errorf("%v requests, want %d", n, requests)
	}
	for selector, want := range map[string]float64{
		`baton_swaps_total{result="success"}`: 1 + 3 + 1,
		`baton_swaps_total{result="failure"}`: 1,
		`baton_losses_total{kind="cut_off"}`:  1,
		`baton_connections_lost_total`:        0,
		`baton_log_dropped_total`:             0,
		`sessions_total`:                      sessions,
	} {
		if n := sum(selector); n != want {
			p.t.Errorf("%s is %v in sum, want %v", selector, n, want)
		}
	}
}

// fired wants that those alerts have fired that had to, and no other.
func (p *server) fired(begun time.Time, s *site) {
	got := map[string]bool{}
	for _, a := range p.since(begun, `ALERTS{alertstate="firing"}`) {
		got[a.Metric["alertname"]+" "+a.Metric["instance"]] = true
	}
	want := []string{
		"BatonDrainTooLong " + s.adminB, "BatonGenerationsPileUp " + s.adminB, "BatonNeverReady " + s.adminA,
		"BatonPulledTooLong " + s.adminA, "BatonRequestsLost " + s.adminB, "BatonSwapFailed " + s.adminA,
	}
	if all := slices.Sorted(maps.Keys(got)); !slices.Equal(all, want) {
		p.t.Errorf("fired: %q\nwant %q", all, want)
	}
}

// panels wants that each expression of the dashboard has drawn something, and that each metric in it and in the rules
// is one of those that a service has.
func (p *server) panels(begun time.Time) {
	var names []string
	p.get("label/__name__/values", nil, &names)
	all := expressions(p.t)
	drawn := regexp.MustCompile(`\$__rate_interval|\$__range`)
	for title, list := range all {
		for _, expr := range list {
			asked := strings.NewReplacer("$job", ".*", "$instance", ".*").Replace(drawn.ReplaceAllString(expr, "2s"))
			if len(p.drawn(begun, asked)) == 0 {
				p.t.Errorf("%s: %s has drawn nothing", title, expr)
			}
		}
	}
	maps.Copy(all, p.ruleExpressions())
	used := map[string]bool{}
	for title, list := range all {
		for _, expr := range list {
			for _, name := range metricName.FindAllString(expr, -1) {
				used[name] = true
				if !slices.Contains(names, name) {
					p.t.Errorf("%s: no service has %s", title, name)
				}
			}
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, "baton_") && !used[name] {
			p.t.Errorf("%s is in no panel and no rule", name)
		}
	}
	if len(all) < 20 {
		p.t.Error(fmt.Sprint("only ", len(all), " panels and rules"))
	}
}
