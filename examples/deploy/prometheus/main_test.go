//go:build linux

package prometheus

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

// shipped is a file of this folder.
func shipped(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// promtool runs it, and wants exit code 0.
func promtool(t testing.TB, stdin string, args ...string) {
	t.Helper()
	cmd := exec.Command(flow.Tool(t, "promtool", "apt-get install prometheus"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	if said, code := flow.Run(t, cmd); code != 0 {
		t.Errorf("promtool %s: exit code %d\n%s", strings.Join(args, " "), code, said)
	}
}

var alertName = regexp.MustCompile(`(?m)^ +- alert: (\w+)$`)

// alerts are the names of all in rules.yml.
func alerts(t testing.TB) (names []string) {
	t.Helper()
	for _, m := range alertName.FindAllStringSubmatch(shipped(t, "rules.yml"), -1) {
		names = append(names, m[1])
	}
	return names
}

func TestFiles(t *testing.T) {
	promtool(t, "", "check", "config", "prometheus.yml")
	promtool(t, "", "test", "rules", "rules_test.yml")
	cases := strings.Split(shipped(t, "rules_test.yml"), "alertname: ")
	for _, name := range alerts(t) {
		fires := slices.ContainsFunc(cases, func(c string) bool {
			return strings.HasPrefix(c, name+"\n") && strings.Contains(c, "exp_alerts")
		})
		silent := slices.ContainsFunc(cases, func(c string) bool { return strings.HasPrefix(c, name+", ") })
		if !fires || !silent {
			t.Errorf("rules_test.yml: %s must fire in one case (it does: %v), and not in another (%v)",
				name, fires, silent)
		}
	}
}

// expressions are those of the dashboard, by the titles of their panels.
func expressions(t testing.TB) map[string][]string {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Annotations struct {
			List []struct{ Name, Expr string }
		}
	}
	if err := json.Unmarshal([]byte(shipped(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all[p.Title] = append(all[p.Title], target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		all["annotation "+a.Name] = append(all["annotation "+a.Name], a.Expr)
	}
	return all
}

// ruleExpressions are those of rules.yml as Prometheus reads them, by their alerts.
func (p *server) ruleExpressions() map[string][]string {
	p.t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Query string }
		}
	}
	p.get("rules", nil, &rules)
	all := map[string][]string{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			all["alert "+r.Name] = append(all["alert "+r.Name], r.Query)
		}
	}
	return all
}

// impatient is rules.yml for a test that has seconds where an operator has minutes. A scrape that is late, on a busy
// machine, is no node that is down.
func impatient(t testing.TB) string {
	t.Helper()
	rules := shipped(t, "rules.yml")
	for name, wait := range map[string]string{
		"BatonNeverReady": "15s", "BatonPulledTooLong": "1s", "BatonGenerationsPileUp": "1s",
	} {
		quick := regexp.MustCompile(`(`+name+`\n.*\n +for: )\d+m`).ReplaceAllString(rules, "${1}"+wait)
		if quick == rules {
			t.Fatalf("rules.yml has no %s with a time that can be shortened", name)
		}
		rules = quick
	}
	quick := strings.Replace(rules, "> 1800", "> 15", 1)
	if quick == rules {
		t.Fatal("rules.yml has no 1800")
	}
	return quick
}

// start starts the real one with the folder's configuration, to scrape two nodes.
func start(t testing.TB, addr, a, b string) *server {
	t.Helper()
	bin := flow.Tool(t, "prometheus", "apt-get install prometheus")
	dir := flow.Dir(t)
	flow.WriteFile(t, dir, "rules.yml", impatient(t))
	config := strings.NewReplacer("a.example.com:9090", a, "b.example.com:9090", b, "interval: 15s", "interval: 1s").
		Replace(shipped(t, "prometheus.yml"))
	p := &server{t: t, addr: addr}
	cmd := exec.Command(bin, "--config.file="+flow.WriteFile(t, dir, "prometheus.yml", config),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--log.level=warn")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.Process = flow.Start(t, cmd)
	p.Answers(t, addr)
	flow.Eventually(t, "Prometheus is ready", func() bool {
		res, err := http.Get("http://" + addr + "/-/ready")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return p
}
