//go:build linux

// Package ansible runs the role as an operator does: ansible-playbook, by ssh, at hosts with a systemd each.
package ansible

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

const title = "Ansible, HAProxy, systemd"

func build(t *testing.T, version, fault string) string {
	t.Helper()
	return flow.Build(t, "nethttp", version, fault)
}

// TestRole is one site for all, since each run of ansible-playbook takes seconds of CPU time. What README.md does is
// followed elsewhere: a rollback of all, a swap of all, restart and stop of one, a version that fails
// by restart, a second run that is refused, kill -9 of a run, and what do=status says then.
func TestRole(t *testing.T) {
	s := newSite(t, "-probation 100ms -swap-timeout 10s")
	v1, v2, v3 := build(t, "v1", ""), build(t, "v2", ""), build(t, "v3", "")
	s.begins(v1, v2)
	s.killed(v2)
	s.fails(v3, build(t, "bad", "crash"))
	s.interrupted(build(t, "hang", "hang"))
	s.restarts()
}

// begins: what is wrong, a first start of all, and what --check says. All have v1 then.
func (s *site) begins(v1, v2 string) {
	t := s.t

	// What uses a site that is up goes on: all that follows.
	if said, code := flow.Run(t, s.try("up")); code != 7 || !strings.Contains(said, "the host b, the host c, ") {
		t.Fatalf("a second try.sh up: exit code %d, want 7 and the hosts: %s", code, said)
	}
	// Everything that is wrong is said at once.
	s.play(2, "nothing was touched: nobody knows app_methd … app_file is /nowhere, which is no file here", "release",
		"app_file", "/nowhere", "app_methd", "swap")
	s.play(2, "nothing was touched: … there is no such command: /nowhere/gate", "release", "app_file", v1,
		"app_gate", "/nowhere/gate -q")
	s.play(2, "nothing was touched: a: there has been no release; b: there has been", "rollback")
	s.play(0, "a, which does not run: … v1: complete", "release", "app_file", v1, "app_version", "v1",
		"app_method", "swap", "app_serial", "100%")
	pids := s.run("v1 v1 v1")

	s.play(0, "1. a, which runs v1: the others do without it, traffic off, keep what runs, stop, replace, "+
		"start, check, traffic on … nothing was touched", "release --check", "app_file", v2, "app_version", "v2")
	if got := s.run("v1 v1 v1"); got != pids {
		t.Fatalf("with --check: pids %s, want %s", got, pids)
	}
	said, code := s.at("a", "ls", "/usr/local/bin/app.releases")
	if code != 0 || strings.Contains(said, "2-v2") || strings.Contains(said, "incoming") {
		t.Errorf("with --check: %d, %s", code, said)
	}
	s.free()
}

// killed: a TERM comes to a run, and to all that it has started, while b is out. The next run says so and puts it
// right. All have v2 then.
func (s *site) killed(v2 string) {
	t := s.t
	load := s.load()
	began := time.Now()
	dir := t.TempDir()
	settings := flow.WriteFile(t, dir, "settings", "APP_WORDS='of v2'\nAPP_DRAIN_TIMEOUT=2s\n")
	asked, opened := filepath.Join(dir, "asked"), filepath.Join(dir, "opened")
	gate := "sh " + flow.WriteFile(t, dir, "gate", "[ $VERSION = v2 ] && touch "+asked+
		" && until [ -e "+opened+" ]; do sleep 0.1; done\n")
	release := []string{"app_file", v2, "app_version", "v2", "app_gate", gate, "app_settings", settings}

	first := s.begin("release", release...)
	first.eventually("the gate is asked", func() bool { _, err := os.Stat(asked); return err == nil })
	s.run("v2 v1 v1")
	flow.WriteFile(t, dir, "opened", "")
	first.eventually("b does not serve", func() bool { _, up := s.whoami("b"); return !up })
	_ = syscall.Kill(-first.Cmd.Process.Pid, syscall.SIGTERM)
	first.ends(-1, "")

	s.play(0, "was interrupted … this run puts it right 1. b, which … c v2 2-v2 … v2: complete", "release", release...)
	s.run("v2 v2 v2")
	said, _ := s.at("c", "sh", "-c", "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID app)/environ")
	if !strings.Contains(said, "APP_WORDS=of v2\n") {
		t.Errorf("the settings of the release are not those of the service at c:\n%s", said)
	}
	s.drained("b")
	s.free()
	load.Report(title, "TERM to ansible-playbook in the middle, and the next run", time.Since(began))
}

// fails: a version that fails, a gate that fails, and the ways back. All have v2 still.
func (s *site) fails(v3, bad string) {
	t := s.t
	load := s.load()
	pids := s.run("v2 v2 v2")
	took := s.play(2, "swap in place: … exit status 3; … a has its old version back, 2-v2", "release", "app_file", bad,
		"app_version", "bad", "app_method", "swap")
	if got := s.run("v2 v2 v2"); got != pids {
		t.Errorf("after a version that fails: pids %s, want %s", got, pids)
	}
	if to := s.link("a", "/usr/local/bin/app"); !strings.Contains(to, "/2-v2/") {
		t.Errorf("after a version that fails the link at a leads to %s", to)
	}
	load.Report(title, "a version that fails stops at the first node, in place", took)

	load = s.load()
	took = s.play(2, "the gate failed … a has its old version back, 2-v2", "release",
		"app_file", v3, "app_version", "v3", "app_method", "swap", "app_gate", "false")
	s.run("v2 v2 v2")
	// Of what has been taken back already.
	took += s.play(0, "rollback by", "rollback", "app_method", "swap", "app_serial", "100%")
	s.run("v2 v2 v2")
	load.Report(title, "a gate that fails, and a rollback of what went back already", took)

	journal := s.file("a", "/usr/local/bin/app.releases/journal")
	for _, want := range []string{
		"release by ", "of v2: complete", "of bad: failed: a: swap in place", "of v3: the gate failed",
	} {
		if !strings.Contains(journal, want) {
			t.Errorf("the journal of a does not say %q:\n%s", want, journal)
		}
	}
}

// interrupted by Ctrl-C, while the new version of a, which never gets ready, is waited for.
func (s *site) interrupted(hang string) {
	t := s.t
	load := s.load()
	began := time.Now()
	pids := s.run("v2 v2 v2")
	p := s.begin("release", "app_file", hang, "app_version", "hang", "app_method", "swap")
	p.eventually("a swaps", func() bool { return strings.Contains(s.link("a", "/usr/local/bin/app"), "-hang/") })
	_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGINT)
	p.ends(-1, "")
	// Of a machine that is gone nobody knows whether its run goes on.
	if said, code := s.at("a", "sed", "-i", "1s/^[^:]*:/gone:/", "/usr/local/bin/app.releases/claim"); code != 0 {
		t.Fatal(said)
	}
	s.play(2, "nothing was touched … If that is gone for good: -e app_take=true", "rollback", "app_method", "swap")
	s.play(0, "-hang was put there and never was live: this run puts it right", "rollback", "app_method", "swap",
		"app_take", "true", "app_serial", "100%")
	if got := s.run("v2 v2 v2"); got != pids {
		t.Errorf("after the rollback: pids %s, want %s", got, pids)
	}
	load.Report(title, "Ctrl-C in a swap, and the way back", time.Since(began))
}

// restarts: no node is taken out while another one is dead, which comes first. The connection to a is lost in its turn,
// which is made again.
func (s *site) restarts() {
	t := s.t
	load := s.load()
	began := time.Now()
	pids := s.run("v2 v2 v2")
	conn, err := s.net.Dial("10.78.0.2:8080")
	if err == nil {
		defer conn.Close()
		_, err = io.WriteString(conn, "GET /slow?d=1m HTTP/1.1\r\nHost: app\r\n\r\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	s.play(0, "b does not run … complete; a stop had to cut requests off at b", "stop --limit b", "app_last", "true")
	journal := s.file("b", "/usr/local/bin/app.releases/journal")
	if !strings.Contains(journal, "cut requests off at b") {
		t.Errorf("the journal of b does not say that it has cut requests off:\n%s", journal)
	}
	if _, up := s.whoami("b"); up {
		t.Error("b serves after do=stop")
	}
	s.play(2, "a: it is not touched while another one is not well: mend, start or stop that; lb1: … "+
		"; lb2: balancer.sh: b has no traffic: DOWN; a was not touched", "restart --limit a")
	p := s.begin("restart")
	p.eventually("a does not serve", func() bool { _, up := s.whoami("a"); return !up })
	if said, code := flow.Run(t, s.try("lose", "a")); code != 0 {
		t.Fatal(said)
	}
	p.ends(0, "1. b, which does not run: … complete")
	s.wasRestarted("a b c", pids)
	load.Report(title, "restart of three nodes, one dead, and a connection that is lost", time.Since(began))
}

// wasRestarted: these nodes have v2 in another process than before, and the others in the same.
func (s *site) wasRestarted(which, before string) {
	s.t.Helper()
	for i, pid := range strings.Fields(s.run("v2 v2 v2")) {
		if was := strings.Fields(before)[i]; (pid != was) != strings.Contains(which, nodes[i]) {
			s.t.Errorf("restarted are %s: %s is pid %s, and was %s", which, nodes[i], pid, was)
		}
	}
}
