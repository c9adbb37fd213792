//go:build linux

package rollout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// claims are the nodes that are claimed.
func (s *site) claims() string {
	names := ""
	for i, n := range s.nodes {
		if found, _ := filepath.Glob(s.bin(n) + ".releases/claim"); len(found) > 0 {
			names += string(rune('a' + i))
		}
	}
	return names
}

// TestClaims: a claim that is of no use to a release any more is freed by the next word to it.
func TestClaims(t *testing.T) {
	s := newSite(t, "a b")
	s.start("v1")
	v1, v2, other := build(t, "v1", ""), build(t, "v2", ""), "STATE="+s.dir+"/other"
	left := func(what, want string) {
		t.Helper()
		if got := s.claims(); got != want {
			t.Errorf("after %s %q are claimed still, want %q", what, got, want)
		}
	}
	s.release(-1, "complete", "upgrade", v2, s.at("before", "free a", s.killed()+"; exit"))
	left("a release that was killed at its end", "ab")
	s.release(7, "in the hands of another release", "upgrade", v1, other)
	s.release(0, "nothing to continue", "continue", "")
	left("continue", "")

	// Refused by one node, it leaves the others.
	s.release(0, "shared", "share", v1, other, "NODES=b")
	s.release(7, "in the hands of another release", "rollback", "")
	left("a rollback that was refused", "b")
	s.release(0, "rolled back", "rollback", "", other)

	s.release(-1, "rolled back", "rollback", "", s.at("before", "free b", s.killed()+"; exit"))
	left("a rollback that was killed at its end", "b")
	s.release(0, "rolled back already", "rollback", "")
	left("rollback", "")

	// Killed as it begins: nothing is under way, and continue frees what was claimed, whatever nodes it is for.
	s.release(-1, "", "upgrade", v2, s.at("after", "claim a", s.killed()))
	s.release(0, "nothing to continue", "continue", "", "NODES=b")
	left("continue", "")
	third := "STATE=" + s.dir + "/third" // in which no release has begun ever
	s.release(-1, "", "upgrade", v2,
		s.at("after", "claim a", strings.ReplaceAll(s.killed(), "/release/", "/third/")), third)
	s.release(6, "has no release", "continue", "", third)
	left("continue", "")
	s.runs("v1", "v1")

	// One whose history can't be written begins nothing.
	if err := os.Rename(s.dir+"/third/history", s.dir+"/third/gone"); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.dir+"/third/history", 0o755); err != nil {
		t.Fatal(err)
	}
	s.release(6, "nothing was touched", "upgrade", v2, third)
	left("a release that could not begin", "")
}

// TestClaimOfAContainer: the claim is the STATE's, under whatever name its machine goes now.
func TestClaimOfAContainer(t *testing.T) {
	s := newSite(t, "a")
	s.start("v1")
	host := func(name string) string { return s.path("uname", "echo "+name+"\n") }
	s.release(0, "shared", "share", build(t, "v2", ""), host("one"))
	s.release(0, "complete", "continue", "", host("two"))
	s.runs("v2")
	if left := s.claims(); left != "" {
		t.Errorf("%q are claimed still", left)
	}
	// The name is no proof of being the same: two machines may have one, and a folder of the same path.
	state := filepath.Join(s.dir, "release")
	s.release(0, "shared", "share", build(t, "v1", ""))
	if err := os.Rename(state, state+".one"); err != nil {
		t.Fatal(err)
	}
	s.release(7, "in the hands of another release", "upgrade", build(t, "v3", ""))
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(state+".one", state); err != nil {
		t.Fatal(err)
	}
	s.release(0, "rolled back", "rollback", "")
	s.runs("v2")
}
