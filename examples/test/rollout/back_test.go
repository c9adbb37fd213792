//go:build linux

package rollout

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// at is an AT_NODE that does something, once, before or after the step of a node, which is a pattern of the shell's.
func (s *site) at(when, step, do string) string {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.dir, "at")
	if err != nil {
		s.t.Fatal(err)
	}
	once := "case \"$* \" in " + strings.ReplaceAll(step, " ", "\\ ") + "\\ *) " +
		"if mkdir '" + dir + "/once' 2>/dev/null; then " + do + "\nfi ;; esac\n"
	before, after := once, ""
	if when == "after" {
		before, after = "", once
	}
	return "AT_NODE=dash " + s.script("at.sh", before+"dash "+deploy+"/node.sh \"$@\"\ncode=$?\n"+after+"exit $code\n")
}

// killed is what ends release.sh as kill -9 does.
func (s *site) killed() string { return "read -r pid <'" + s.dir + "/release/lock'; kill -9 $pid" }

// script writes one to a folder whose name has no blanks.
func (s *site) script(name, text string) string {
	s.t.Helper()
	file := flow.WriteFile(s.t, s.t.TempDir(), name, "#!/bin/sh\n"+text)
	if err := os.Chmod(file, 0o755); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// path is a PATH on which a command of the test's stands before the real one, REAL.
func (s *site) path(name, text string) string {
	s.t.Helper()
	real := flow.Tool(s.t, name, "apt-get install "+name)
	return "PATH=" + filepath.Dir(s.script(name, strings.ReplaceAll(text, "REAL", real))) + ":" + os.Getenv("PATH")
}

// TestWayBack: it leads to what ran before the release, however often that has begun anew, and never to its own
// version.
func TestWayBack(t *testing.T) {
	s := newSite(t, "a")
	s.start("v1")
	v2 := build(t, "v2", "")

	// Killed when v2 was live already, so that continue puts it a second time.
	s.release(-1, "", "upgrade", v2, s.at("after", "live a", s.killed()))
	s.release(0, "complete", "continue", "")
	s.runs("v2")
	s.release(0, "rolled back", "rollback", "")
	s.runs("v1")

	// One that dies after its turn, and before the last look, did run before.
	s.release(4, "does not run well at a", "upgrade", v2,
		s.at("before", "live a [0-9]*", fmt.Sprintf("read -r pid <%s; kill -9 $pid", s.nodes[0].Path("pid"))))
	s.release(0, "complete", "continue", "")
	s.runs("v2")
	s.release(0, "rolled back", "rollback", "")
	s.runs("v1")

	// So did one that has died with its old version.
	check := "CHECK=dash " + s.script("check.sh", "case $(curl -s \"$URL/whoami\") in *v2*) exit 1 ;; esac\n")
	s.release(1, "has its old version back", "upgrade", v2, check)
	s.nodes[0].Control("stop", "BIN="+s.bin(s.nodes[0]))
	s.release(0, "complete", "continue", "", "CHECK=true")
	s.release(0, "rolled back", "rollback", "")
	s.runs("v1")
}

// TestBeginKilled: a release begins at once, with all of it, or not at all. Rollback leads to what was before the one
// that has begun last.
func TestBeginKilled(t *testing.T) {
	s := newSite(t, "a")
	settings := "SETTINGS=" + s.script("app.env", "APP_DRAIN_TIMEOUT=11s\n")
	v2, v3 := build(t, "v2", ""), build(t, "v3", "")
	s.start("v1")
	for _, c := range []struct {
		command, file string
		begun         bool // as it is done
	}{
		{"mkdir", "/begun/*", false}, {"cp", "/new", false}, {"cp", "/settings", false}, {"mv", "/journal", true},
	} {
		s.release(0, "complete", "upgrade", v2)
		back := map[bool]string{false: "v1", true: "v2"}[c.begun]
		for _, when := range []string{"after", "before"} {
			text := "case $* in *'/a site/release'*" + c.file + ") ;; *) exec REAL \"$@\" ;; esac\n"
			if when == "after" {
				text += "REAL \"$@\"\n"
			}
			now := s.nodes[0].Whoami().Version
			s.release(-1, "", "upgrade", v3, s.path(c.command, text+s.killed()+"\n"), settings)
			s.runs(now)
			said := s.release(0, "rolled back", "rollback", "")
			if already := when == "before"; strings.Contains(said, "already") != already {
				t.Errorf("killed %s %s: rolled back already, want %v", when, c.command, already)
			}
			s.runs(back)
		}
	}
}

// TestFirstThatFails: what did not run before does not run then, and the message says so.
func TestFirstThatFails(t *testing.T) {
	s := newSite(t, "a")
	said := s.release(1, "a failed, and does not run, as before", "upgrade", build(t, "v1", ""), "CHECK=false")
	if strings.Contains(said, "has its old version back") {
		t.Error("there is no old version")
	}
	s.runs("")
	s.release(0, "rolled back", "rollback", "")
	s.runs("")
	s.release(0, "complete", "upgrade", build(t, "v2", ""))
	s.runs("v2")

	// One that has died, and an old version on disk: that is started.
	s.nodes[0].Control("stop", "BIN="+s.bin(s.nodes[0]))
	s.release(1, "a failed, and has its old version back", "upgrade", build(t, "v3", "crash"))
	s.runs("v2")
	s.release(0, "rolled back", "rollback", "")
	// Neither that nor the new one is well: nothing runs that did not run before.
	s.nodes[0].Control("stop", "BIN="+s.bin(s.nodes[0]))
	s.release(1, "a failed, and does not run, as before", "upgrade", build(t, "v3", ""), "CHECK=false")
	s.runs("")
}

// TestHistoryLost: how a release has ended is its exit code, also where that can't be written down.
func TestHistoryLost(t *testing.T) {
	s := newSite(t, "a")
	s.start("v1")
	gate := s.script("gate.sh", "cd '"+s.dir+"/release' && rm history && mkdir history && exit 1\n")
	s.release(3, "rolled back", "upgrade", build(t, "v2", ""), "GATE="+gate)
	s.runs("v1")
	s.release(6, "nothing was touched", "upgrade", build(t, "v2", ""))
	s.runs("v1")
}

// balancing is a BALANCER that all nodes have their traffic of, always.
const balancing = `
balancer_settings() { :; }
balancer_out() { :; }
balancer_in() { :; }
balancer_ready() { :; }
balancer_status() { echo UP; }
`

// TestUnwell: a node that was not well before has its traffic back all the same when its turn fails.
func TestUnwell(t *testing.T) {
	s := newSite(t, "a b")
	s.start("v1")
	asked := filepath.Join(t.TempDir(), "asked")
	s.release(1, "is not well, as before", "upgrade", build(t, "v2", ""), "METHOD=restart",
		"CHECK=dash "+s.script("check.sh", "[ $NODE = b ]\n"), "BALANCER="+s.script("balancer.sh", balancing+
			"balancer_out() { echo out $1 >>"+asked+"; }\nbalancer_in() { echo in $1 >>"+asked+"; }\n"+
			"balancer_ready() { [ $1 = b ]; }\n"))
	s.runs("v1", "v1")
	if text, _ := os.ReadFile(asked); !strings.HasSuffix(string(text), "in a\n") {
		t.Errorf("the balancer was told %q, want \"in a\" at last", text)
	}
}

// TestContinueKnows: a release goes on with what it has begun with, in another shell too.
func TestContinueKnows(t *testing.T) {
	s := newSite(t, "a b")
	s.start("v1")
	checked := filepath.Join(s.t.TempDir(), "checked")
	check := "CHECK=dash " + s.script("check.sh", "echo $NODE >>"+checked+"\n")
	env := s.script("app.env", "APP_DRAIN_TIMEOUT=11s\n")
	s.release(0, "shared", "share", build(t, "v2", ""), "GATE=false", check, "VERSION=v2", "SETTINGS="+env)
	if err := os.Remove(env); err != nil {
		t.Fatal(err)
	}
	pids := s.runs("v2", "v1")
	s.release(6, "set GATE", "continue", "")
	if s.runs("v2", "v1") != pids {
		t.Error("something was touched")
	}
	s.release(1, "in the middle", "status", "")
	_ = os.Remove(checked)
	gate := s.script("gate.sh", "[ \"$VERSION\" = v2 ]\n")
	s.release(0, "complete", "continue", "", "GATE=dash "+gate)
	s.runs("v2", "v2")
	if text, _ := os.ReadFile(checked); !strings.Contains(string(text), "b\n") {
		t.Errorf("CHECK was asked %q, want b", text)
	}
	environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.nodes[1].PID()))
	if !strings.Contains(string(environ), "APP_DRAIN_TIMEOUT=11s\x00") {
		t.Error("SETTINGS has not reached b")
	}

	// The next one begins without them.
	_ = os.Remove(checked)
	balancer := "BALANCER=" + s.script("balancer.sh", balancing)
	s.release(0, "shared", "share", build(t, "v1", ""), "GATE=false", "METHOD=restart", balancer)
	if _, err := os.Stat(checked); err == nil {
		t.Error("the next release has this one's CHECK")
	}
	// Without the balancer it would stop nodes that have traffic.
	for _, verb := range []string{"continue", "rollback"} {
		s.release(6, "set BALANCER", verb, "")
	}
	s.runs("v1", "v2")
	// The way back needs no GATE.
	s.release(0, "rolled back", "rollback", "", balancer)
	s.runs("v2", "v2")
}
