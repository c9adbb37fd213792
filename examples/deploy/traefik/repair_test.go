//go:build linux

package traefik

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// holding stands in for control.sh, and for the CHECK: it stops at one step
// until there is a file "go".
const holding = `#!/bin/sh
hold() {
	[ "$*" = "$HOLD" ] || return 0
	[ "$2" != stop ] || [ -n "$runs" ] || return 0
	: >"$HELD/held"
	until [ -e "$HELD/go" ]; do sleep 0.05; done
}
if [ "$1" = check ]; then
	case $(tail -n 1 release/journal) in *" taken $NODE") ;; *) exit 0 ;; esac
	case $URL in "$PREVIEW") hold check through Traefik ;; *) hold check ;; esac
	exit 0
fi
runs=$(cat "$PIDFILE" 2>/dev/null)
hold before "$1"
sh CONTROL.SH "$1"
code=$?
hold after "$1"
exit $code
`

// TestKilledAtEachStep: the next run repairs what is left, and nobody notices.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.release(0, nil, "upgrade", s.build("v1", ""))
	load := flow.NewLoad(t, s.web(), 4, 2)
	start := time.Now()
	steps := []string{"before start", "after start", "check", "check through Traefik", "before stop", "after stop"}
	for i, step := range steps {
		live := flow.Whoami(t, "http://"+s.web())
		version := fmt.Sprint("v", 2+i%2)
		s.killedAt(step, s.build(version, ""))
		switched := strings.Contains(step, "stop")
		if who := flow.Whoami(t, "http://"+s.web()); switched != (who.PID != live.PID) {
			t.Fatalf("killed at %s: %+v is live, before that was %+v", step, who, live)
		}
		if i%2 == 0 {
			s.release(0, nil, "rollback")
			if who := s.one(); who.Version != live.Version || !switched && who != live {
				t.Fatalf("killed at %s, and rolled back: %+v is live, want %+v", step, who, live)
			}
			s.killedAt(step, s.build(version, ""))
		}
		s.release(0, nil, "continue")
		if who := s.one(); who.Version != version {
			t.Fatalf("killed at %s, and continued: %+v is live, want version %s", step, who, version)
		}
	}
	load.Flows(50)
	load.Report("Traefik", "kill -9 of the script at six steps, and the next run", time.Since(start))
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d reconnects at Traefik, want 0", n)
	}
}

// killedAt deploys, and ends the script with kill -9 at a step. The command of
// that step goes on, as it would.
func (s *site) killedAt(step, build string) {
	s.t.Helper()
	dir := s.t.TempDir()
	script := flow.WriteFile(s.t, dir, "holding.sh", strings.ReplaceAll(holding, "CONTROL.SH",
		filepath.Join(flow.Examples(), "deploy", "control.sh")))
	p := flow.Start(s.t, s.command([]string{"CONTROL_SH=" + script, "CHECK=dash " + script + " check", "HOLD=" + step,
		"HELD=" + dir}, "upgrade", build))
	flow.Eventually(s.t, "it is at "+step, func() bool {
		_, err := os.Stat(filepath.Join(dir, "held"))
		return err == nil
	})
	p.End()
	flow.WriteFile(s.t, dir, "go", "")
}

// one wants one process in all, and the live one to be that.
func (s *site) one() flow.Identity {
	s.t.Helper()
	pids := append(s.running("blue"), s.running("green")...)
	who := flow.Whoami(s.t, "http://"+s.web())
	if len(pids) != 1 || who.PID != pids[0] || who.Phase != "ready" {
		s.t.Fatalf("live: %+v; the processes of both colours: %v", who, pids)
	}
	return who
}

// TestTraefikThatDoesNotFollow: nothing is stopped that may have traffic.
func TestTraefikThatDoesNotFollow(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.release(0, nil, "upgrade", s.build("v1", ""))
	v1 := s.only("blue", "v1")
	load := flow.NewLoad(t, s.web(), 4, 2)
	quick := []string{"BALANCER_TIMEOUT=10"}

	// It refuses the whole folder because of one file.
	broken := flow.WriteFile(t, s.path("conf.d"), "broken.yml", "http: {routers: [")
	said := s.release(1, quick, "upgrade", s.build("v2", ""))
	if !strings.Contains(said, "blue is live, as before") || s.only("blue", "v1") != v1 {
		t.Errorf("it says %q", said)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}

	s.release(0, quick, "rollback")
	for _, tc := range []struct {
		code int
		env  string
		args []string
		says string
	}{
		{2, "X=", []string{"upgrade"}, "want upgrade FILE"},
		{6, "API=http://" + s.host + ":1", []string{"upgrade", s.build("v2", "")}, "set API"},
		{6, "CONTROL_SH=./nothing", []string{"upgrade", s.build("v2", "")}, "set CONTROL_SH"},
		{6, "ROUTES=" + flow.WriteFile(t, t.TempDir(), "live.yml", "http: {}"), []string{"upgrade", s.build("v2", "")},
			"does not say which colour"},
		{6, "METHOD=restart", []string{"upgrade", s.build("v2", "")}, "it is colours"},
		{6, "NODES=blue", []string{"upgrade", s.build("v2", "")}, "one of which is live"},
		{0, "X=", []string{"rollback"}, "rolled back already"},
		{0, "X=", []string{"status"}, "in the balancer: live"},
	} {
		if said := s.release(tc.code, append(quick, tc.env), tc.args...); !strings.Contains(said, tc.says) {
			t.Errorf("it says %q, want %q in it", said, tc.says)
		}
		s.only("blue", "v1")
	}

	// Two at once: the one waits in its check for the other to be refused.
	held := t.TempDir()
	check := func(text string) string { return "CHECK=dash " + flow.WriteFile(t, held, "check.sh", text) }
	p := flow.Start(t, s.command([]string{check(": >" + held + "/held; until [ -e " + held +
		"/go ]; do sleep 0.05; done\n")}, "upgrade", s.build("v2", "")))
	flow.Eventually(t, "the first is at its check", func() bool {
		_, err := os.Stat(held + "/held")
		return err == nil
	})
	s.release(7, quick, "upgrade", s.build("v3", ""))
	flow.WriteFile(t, held, "go", "")
	<-p.Ended()
	load.Reaches(s.only("green", "v2"), 20)
	if load.End().Failed() > 0 || load.Reconnects() > 0 {
		t.Error(load)
	}

	// What ROUTES leads to is written; a link stays one.
	linked := filepath.Join(t.TempDir(), "linked.yml")
	if err := os.Rename(s.path("conf.d/live.yml"), linked); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(linked, s.path("conf.d/live.yml")); err != nil {
		t.Fatal(err)
	}
	// An old colour that dies by itself is not waited for.
	s.release(0, []string{"EMPTY_TIMEOUT=30", check("[ $NODE = green ] || kill -9 $(cat " + s.path("green/pid") +
		") 2>/dev/null || :\n")}, "upgrade", s.build("v3", ""))
	s.only("blue", "v3")
	if to, err := os.Readlink(s.path("conf.d/live.yml")); to != linked {
		t.Errorf("ROUTES leads to %q, want %q (%v)", to, linked, err)
	}
}
