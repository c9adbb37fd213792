//go:build linux

package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestPipelines: a good version, the way back, a version that is refused in
// staging, and settings that are refused in production, while clients are there.
func TestPipelines(t *testing.T) {
	t.Parallel()
	for _, tool := range tools {
		t.Run(tool.name, func(t *testing.T) {
			t.Parallel()
			steps, byHand := tool.read(t)
			s := newSite(t, "staging", "production")
			staging := flow.NewLoad(t, s.staging[0].Addr, 4, 2)
			production := flow.NewLoad(t, strings.TrimPrefix(s.url, "http://"), 4, 2)
			begun := time.Now()

			if red, code := s.run(steps, tool.version+"=v2"); red != "" {
				t.Fatalf("a good version: %s: exit code %d, want green", red, code)
			}
			s.want(s.staging, "v2")
			s.want(s.production, "v2")
			s.wantOneBinary()

			// It refuses itself when it is to take over: see examples/internal/faulty.
			red, code := s.run(steps, tool.version+"=v3",
				"SERVICE=../../internal/faulty", "LDFLAGS=-X main.fault=check")
			if red != "./deploy.sh staging" || code != 1 {
				t.Errorf("a version that fails its check: %q, exit code %d, want red in staging with 1", red, code)
			}
			s.want(s.staging, "v2")
			s.want(s.production, "v2")

			if tool.name != ".gitlab-ci.yml" {
				s.settle(tool, begun, staging, production)
				return // the rest would be the same steps again
			}

			// It is not the version that it is said to be.
			red, code = s.run(steps, tool.version+"=v3", "LDFLAGS=-X main.version=stale")
			if red != "./deploy.sh staging" || code != 1 {
				t.Errorf("a stale version: %q, exit code %d, want red in staging with 1", red, code)
			}
			s.want(s.staging, "v2")

			if red, code := s.run(byHand); red != "" {
				t.Fatalf("the way back: %s: exit code %d, want green", red, code)
			}
			s.want(s.staging, "v2")
			s.want(s.production, "v1")

			// PullMin may not be longer than PullMax: the service does not start.
			before := environ(t, s.production[0])
			s.settings("production", "APP_PULL_MIN=1m")
			red, code = s.run(steps, tool.version+"=v4")
			if red != "./deploy.sh production" || code != 1 {
				t.Errorf("wrong settings: %q, exit code %d, want red in production with 1", red, code)
			}
			s.want(s.staging, "v4")
			s.want(s.production, "v1")
			for _, n := range s.production {
				if now := environ(t, n); fmt.Sprint(now) != fmt.Sprint(before) {
					t.Errorf("%s has settings %v, want %v", n.Addr, now, before)
				}
			}

			s.settle(tool, begun, staging, production)
		})
	}
}

// settle reports both loads. Nobody has lost a connection either: HAProxy
// stands before production, and staging is swapped in place.
func (s *site) settle(tool tool, begun time.Time, staging, production *flow.Load) {
	s.t.Helper()
	took := time.Since(begun)
	staging.Flows(20)
	production.Flows(20)
	for _, load := range []*flow.Load{staging, production} {
		if n := load.End().Reconnects(); n > 0 {
			s.t.Errorf("%d reconnects, want 0: %v", n, load)
		}
	}
	steps := "the steps of `" + tool.name + "`, green and red: "
	staging.Report("Pipeline", steps+"staging, in place", took)
	production.Report("Pipeline", steps+"production, release.sh", took)
}

// wantOneBinary: what differs between environments is what the process is told.
func (s *site) wantOneBinary() {
	s.t.Helper()
	built, err := os.ReadFile(s.path("dist/app"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, nodes := range [][]*flow.Node{s.staging, s.production} {
		for _, n := range nodes {
			runs, err := os.ReadFile(fmt.Sprintf("/proc/%d/exe", n.PID()))
			if err != nil || string(runs) != string(built) {
				s.t.Errorf("%s does not run dist/app: %v", n.Addr, err)
			}
		}
	}
	here, there := environ(s.t, s.staging[0]), environ(s.t, s.production[0])
	if len(here) == 0 || len(there) == 0 || fmt.Sprint(here) == fmt.Sprint(there) {
		s.t.Errorf("staging is told %v, production %v: want different settings", here, there)
	}
}

// TestNewSettings: a process that runs never hears of them, so an in-place
// swap would not do.
func TestNewSettings(t *testing.T) {
	t.Parallel()
	s := newSite(t, "staging")
	pid := s.staging[0].PID()
	s.settings("staging", "APP_DRAIN_TIMEOUT=11s")
	s.built("v2", "")
	if red, code := s.run([]string{"./deploy.sh staging"}); red != "" {
		t.Fatalf("%s: exit code %d, want green", red, code)
	}
	s.want(s.staging, "v2")
	if now := fmt.Sprint(environ(t, s.staging[0])); !strings.Contains(now, "APP_DRAIN_TIMEOUT=11s") {
		t.Errorf("settings are %s, want the new APP_DRAIN_TIMEOUT", now)
	}
	if s.staging[0].Whoami().Generation != 1 || s.staging[0].PID() == pid {
		t.Error("want another process of generation 1")
	}
	if red, code := s.run([]string{"./deploy.sh staging rollback"}); red != "" {
		t.Fatalf("%s: exit code %d, want green", red, code)
	}
	s.want(s.staging, "v1")
	if now := fmt.Sprint(environ(t, s.staging[0])); !strings.Contains(now, "APP_DRAIN_TIMEOUT=10s") {
		t.Errorf("settings are %s, want the old APP_DRAIN_TIMEOUT", now)
	}
}

// TestKilled: the runner dies in the middle of a deploy; the next one repairs.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, env := range []string{"staging", "production"} {
		t.Run(env, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, env)
			nodes := append(s.staging, s.production...)
			s.built("v2", "")
			reached := s.path("gate-reached")
			gate := flow.WriteFile(t, s.dir, "gate.sh", "touch "+reached+"\nexec sleep 100\n")
			s.settings(env, `GATE="sh `+gate+`"`)

			deploy := s.step("./deploy.sh " + env)
			p := flow.Start(t, deploy)
			flow.Eventually(t, "the deploy reaches its gate", func() bool {
				_, err := os.Stat(reached)
				return err == nil
			})
			s.want(nodes[:1], "v2")
			_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) // the services have sessions of their own
			<-p.Ended()

			s.settings(env)
			if env == "staging" {
				s.built("v3", "crash")
				if red, code := s.run([]string{"./deploy.sh " + env}); red != "./deploy.sh "+env || code != 1 {
					t.Errorf("a broken version after that: %q, exit code %d, want red with 1", red, code)
				}
				s.want(nodes, "v1")
			}
			s.built("v4", "")
			if red, code := s.run([]string{"./deploy.sh " + env}); red != "" {
				t.Errorf("a good one: %s: exit code %d, want green", red, code)
			}
			s.want(nodes, "v4")
		})
	}
}

// TestMistakes: each is told from the others, and nothing is touched.
func TestMistakes(t *testing.T) {
	dir := flow.Dir(t)
	for name, text := range map[string]string{
		"none.env": "METHOD=gray\nNODES=a\nSTATE=" + dir + "\n",
		"typo.env": "METHOD=swap\nNODES=a\nSTATE=" + dir + "/state\nGATES=true\n",
		"no.env":   "METHOD=swap\nSTATE=" + dir + "\n",
		"good.env": "METHOD=swap\nNODES=a\nSTATE=" + dir + "/state\nSITE=" + dir + "\n",
	} {
		flow.WriteFile(t, dir, name, text)
	}
	dist := filepath.Join(dir, "dist")
	if err := os.Mkdir(dist, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir}
	for _, c := range []struct {
		args, want string
		code       int
		built      bool
	}{
		{"", "want an environment", 2, false},
		{"good forward", "want an environment", 2, false},
		{"moon", "want the name of an environment", 2, false},
		{"good", "run build.sh first", 6, false},
		{"none", "want restart, swap or colours", 6, true},
		{"no", "does not set NODES", 6, true},
		{"typo", "nobody knows GATES", 6, true},
		{"good", "set SITE", 6, true},
	} {
		if c.built {
			if err := os.WriteFile(filepath.Join(dist, "app"), []byte("app"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		said, code := flow.Run(t, s.step("./deploy.sh "+c.args, "ENVS="+dir))
		if code != c.code || !strings.Contains(said, c.want) {
			t.Errorf("deploy.sh %s: exit code %d, want %d; it says %q, want %q", c.args, code, c.code, said, c.want)
		}
	}
}
