//go:build linux

// Package ansible runs the role as an operator does: ansible-playbook, by ssh, at hosts with a systemd each.
package ansible

import (
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

// TestRole is one site for all, since each run of ansible-playbook takes seconds of CPU time.
func TestRole(t *testing.T) {
	s := newSite(t, "-probation 100ms -swap-timeout 10s")
	v1, v2, v3 := build(t, "v1", ""), build(t, "v2", ""), build(t, "v3", "")
	s.releases(v1, v2, v3, build(t, "bad", "crash"))
	s.interrupted(v1, v3, build(t, "hang", "hang"))
}

// releases: a first start of all, releases, a version that fails, a gate that fails and the way back, under load.
// All have v2 then.
func (s *site) releases(v1, v2, v3, bad string) {
	t := s.t

	// Everything that is wrong is said at once.
	s.play(2, "nothing was touched: nobody knows app_methd … app_file is /nowhere, which is no file here", "release",
		"app_file", "/nowhere", "app_methd", "swap")
	s.play(2, "there has been no release", "rollback")
	s.play(0, "a, which does not run: … v1: complete", "release", "app_file", v1, "app_version", "v1")
	pids := s.run("v1 v1 v1")
	load := s.load()

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

	// The second run of two is refused.
	began := time.Now()
	settings := flow.WriteFile(t, t.TempDir(), "settings", "APP_WORDS='of v2'\n")
	first := s.begin("release", "app_file", v2, "app_version", "v2", "app_gate", "true", "app_settings", settings)
	first.eventually("a is being changed", func() bool { who, up := s.whoami("a"); return !up || who.Version == "v2" })
	s.play(2, "nothing was touched … in the hands of another run: release by", "release", "app_file", v3)
	first.ends(0, "a v2 2-v2 … c v2 2-v2 … v2: complete")
	s.run("v2 v2 v2")
	said, _ = s.at("c", "sh", "-c", "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID app)/environ")
	if !strings.Contains(said, "APP_WORDS=of v2\n") {
		t.Errorf("the settings of the release are not those of the service at c:\n%s", said)
	}
	load.Report(title, "release of three nodes, and a second run, which is refused", time.Since(began))
	s.free()

	load = s.load()
	pids = s.run("v2 v2 v2")
	took := s.play(2, "swap in place: … exit status 3; … a has its old version back, 2-v2", "release", "app_file", bad,
		"app_version", "bad", "app_method", "swap")
	if got := s.run("v2 v2 v2"); got != pids {
		t.Errorf("after a version that fails: pids %s, want %s", got, pids)
	}
	if to, _ := s.at("a", "readlink", "/usr/local/bin/app"); !strings.Contains(to, "/2-v2/") {
		t.Errorf("after a version that fails the link at a leads to %s", to)
	}
	load.Report(title, "a version that fails stops at the first node, in place", took)

	load = s.load()
	took = s.play(2, "the gate failed … a has its old version back, 2-v2", "release",
		"app_file", v3, "app_version", "v3", "app_method", "swap", "app_gate", "false")
	s.run("v2 v2 v2")
	took += s.play(0, "rollback by", "rollback", "app_method", "swap") // of what has been taken back already
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

// interrupted: whatever ends a run in the middle, the next one says so and puts it right. All have another version
// than these before.
func (s *site) interrupted(v1, v3, hang string) {
	t := s.t
	load := s.load()
	began := time.Now()

	// Kill -9 of ansible-playbook, while a has no traffic.
	p := s.begin("release", "app_file", v3, "app_version", "v3")
	p.eventually("a does not serve", func() bool { _, up := s.whoami("a"); return !up })
	_ = syscall.Kill(flow.Child(p.Cmd.Process.Pid), syscall.SIGKILL)
	p.ends(-1, "")
	s.play(2, "was interrupted … do=release or do=rollback puts it right", "status")
	s.play(0, "was interrupted … this run puts it right … c v3 3-v3 … v3: complete", "release",
		"app_file", v3, "app_version", "v3")
	s.run("v3 v3 v3")
	s.free()
	load.Report(title, "kill -9 of ansible-playbook in the middle, and the next run", time.Since(began))

	// Ctrl-C, while the new version of a, which never gets ready, is waited for.
	load = s.load()
	began = time.Now()
	pids := s.run("v3 v3 v3")
	p = s.begin("release", "app_file", hang, "app_version", "hang", "app_method", "swap")
	p.eventually("a swaps", func() bool {
		said, _ := s.at("a", "readlink", "/usr/local/bin/app")
		return strings.Contains(said, "-hang/")
	})
	_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGINT)
	p.ends(-1, "")
	// Of a machine that is gone nobody knows whether its run goes on.
	if said, code := s.at("a", "sed", "-i", "1s/^[^:]*:/gone:/", "/usr/local/bin/app.releases/claim"); code != 0 {
		t.Fatal(said)
	}
	s.play(2, "nothing was touched … If that is gone for good: -e app_take=true", "rollback", "app_method", "swap")
	s.play(0, "-hang was put there and never was live: this run puts it right", "rollback", "app_method", "swap",
		"app_take", "true")
	if got := s.run("v3 v3 v3"); got != pids {
		t.Errorf("after the rollback: pids %s, want %s", got, pids)
	}
	load.Report(title, "Ctrl-C in a swap, and the way back", time.Since(began))

	// A dead node comes first. The connection to a is lost in its turn, which is made again.
	if said, code := s.at("b", "systemctl", "stop", "app"); code != 0 {
		t.Fatal(said)
	}
	load = s.load()
	began = time.Now()
	p = s.begin("release", "app_file", v1, "app_version", "v1")
	p.eventually("a does not serve", func() bool { _, up := s.whoami("a"); return !up })
	if said, code := flow.Run(t, s.try("lose", "a")); code != 0 {
		t.Fatal(said)
	}
	p.ends(0, "1. b, which does not run … v1: complete")
	pids = s.run("v1 v1 v1")
	load.Report(title, "a release with a dead node, and a connection that is lost", time.Since(began))

	load = s.load()
	took := s.play(0, "complete", "restart")
	if got := s.run("v1 v1 v1"); got == pids {
		t.Errorf("after the restart: pids %s", got)
	}
	load.Report(title, "restart of three nodes", took)
	s.play(0, "b does not run", "stop --limit b")
	if _, up := s.whoami("b"); up {
		t.Error("b serves after do=stop")
	}
}
