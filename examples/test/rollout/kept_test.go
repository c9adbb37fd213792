//go:build linux

package rollout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// half are the folders of a that hold what has not become a release.
func (s *site) half() (names []string) {
	s.t.Helper()
	all, err := os.ReadDir(s.bin(s.nodes[0]) + ".releases")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, one := range all {
		if one.IsDir() && !strings.Contains("123456789", one.Name()[:1]) {
			names = append(names, one.Name())
		}
	}
	return names
}

// TestNoRoom: a node that can't take the new version has its old one back, and what was written of the new one does not
// fill its disk.
func TestNoRoom(t *testing.T) {
	s := newSite(t, "a")
	s.start("v1")
	v2 := build(t, "v2", "")
	said := s.release(1, "make it writable; it cannot take the new version", "upgrade", v2,
		s.at("before", "put a", "ulimit -f 1000")) // blocks of 512 bytes
	if left := s.half(); len(left) > 0 || !strings.Contains(said, "has its old version back") {
		t.Errorf("%q were left", left)
	}
	s.runs("v1")
	s.release(0, "rolled back", "rollback", "")

	// A step that was killed has cleared away nothing.
	left := s.bin(s.nodes[0]) + ".releases/tmp"
	half := "mkdir '" + left + "'; >'" + left + "/app'; "
	s.release(-1, "", "upgrade", v2, s.at("before", "put a", half+s.killed()+"; exit 1"))
	s.release(0, "rolled back", "rollback", "")
	if left := s.half(); len(left) > 0 {
		t.Errorf("%q were left", left)
	}
	s.runs("v1")
}

// TestNamesOfVersions: none is taken for a folder that may go.
func TestNamesOfVersions(t *testing.T) {
	s := newSite(t, "a")
	// That of the file may begin as an option does.
	cmd := s.command([]string{"upgrade", "-v1"})
	cmd.Dir = t.TempDir()
	flow.Deploy(t, build(t, "v1", ""), filepath.Join(cmd.Dir, "-v1"))
	if said, code := flow.Run(t, cmd); code != 0 {
		t.Fatalf("exit code %d, want 0: %s", code, said)
	}
	s.runs("v1")

	s.release(0, "complete", "upgrade", build(t, "v2", ""), "VERSION=v2.tmp")
	s.release(0, "complete", "upgrade", build(t, "v3", ""), "VERSION=*")
	s.release(0, "rolled back", "rollback", "")
	s.runs("v2")
	s.release(0, "complete", "upgrade", build(t, "v1", ""), "VERSION=-../v 1")
	pids := s.runs("v1")
	long := "VERSION=" + strings.Repeat("1", 300)
	s.release(6, "too long for the name of a folder", "upgrade", build(t, "v2", ""), long)
	for _, nodes := range []string{"a a", "a b a", "-a b", ". a"} {
		s.release(6, "NODES", "upgrade", build(t, "v2", ""), "NODES="+nodes)
	}
	if s.runs("v1") != pids {
		t.Error("something was touched")
	}
}

// TestSameAgain: what a rollback leads to is kept, also where the last release was of the same program as the one
// before, for another node's sake.
func TestSameAgain(t *testing.T) {
	s := newSite(t, "a b")
	s.start("v1")
	v2 := build(t, "v2", "")
	s.release(0, "complete", "upgrade", v2, "KEEP=1", "NODES=a")
	s.release(0, "complete", "upgrade", v2, "KEEP=1")
	s.runs("v2", "v2")
	s.release(0, "rolled back", "rollback", "")
	s.runs("v2", "v1")
}

// TestRollbackLooks: it is over when each node that the release has touched has its old version and is well, whatever
// has befallen that node since its turn.
func TestRollbackLooks(t *testing.T) {
	s := newSite(t, "a b")
	s.start("v1")
	v2 := build(t, "v2", "")
	kill := "read -r pid <'" + s.nodes[0].Path("pid") + "'; kill -9 $pid"

	// The last look has found a dead.
	s.release(4, "does not run well at a", "upgrade", v2, s.at("before", "put b", kill))
	s.release(0, "rolled back", "rollback", "")
	s.runs("v1", "v1")

	// It dies after it went back.
	crash := build(t, "v3", "crash")
	s.release(1, "a failed, and has its old version back", "upgrade", crash, "NODES=a")
	s.nodes[0].Control("stop", "BIN="+s.bin(s.nodes[0]))
	s.release(0, "rolled back", "rollback", "")
	s.runs("v1", "v1")
	s.release(0, "rolled back already", "rollback", "")
}

// TestCutShort: a line of the journal that a full disk has cut short does not swallow the next one.
func TestCutShort(t *testing.T) {
	s := newSite(t, "a")
	s.start("v1")
	journal := filepath.Join(s.dir, "release", "journal")
	v2 := build(t, "v2", "")
	s.release(-1, "", "upgrade", v2, s.at("before", "keep a", s.killed()+"; exit 1"))
	f, err := os.OpenFile(journal, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("2026-11-29T12:00:00Z tak"); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	s.release(-1, "taken a", "continue", "", s.at("before", "live a", s.killed()+"; exit 1"))
	s.release(0, "old a", "rollback", "")
	s.runs("v1")
}

// TestNobodyKnows: a node of which the balancer does not say how it is may have traffic.
func TestNobodyKnows(t *testing.T) {
	s := newSite(t, "a b")
	s.start("v1")
	gone := filepath.Join(t.TempDir(), "gone")
	balancer := "BALANCER=" + s.script("balancer.sh", balancing+
		"balancer_status() { [ -e "+gone+" ] || echo UP; }\n"+
		"balancer_ready() { [ -n \"$(balancer_status \"$1\")\" ]; }\n")
	v2 := build(t, "v2", "")
	s.release(0, "shared", "share", v2, balancer)
	flow.WriteFile(t, filepath.Dir(gone), "gone", "")
	pids := s.runs("v2", "v1")
	s.release(5, "the balancer does not say how it is", "continue", "", balancer)
	if s.runs("v2", "v1") != pids {
		t.Error("b was touched")
	}
	_ = os.Remove(gone)
	s.release(0, "complete", "continue", "", balancer)
	s.runs("v2", "v2")
}
