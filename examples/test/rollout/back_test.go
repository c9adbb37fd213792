//go:build linux

package rollout

import (
	"fmt"
	"os"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// at is an AT_NODE that does something, once, before or after the step of a node.
func (s *site) at(when, step, do string) string {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.dir, "at")
	if err != nil {
		s.t.Fatal(err)
	}
	once := "if [ \"$1 $2\" = \"" + step + "\" ] && mkdir '" + dir + "/once' 2>/dev/null; then " + do + "\nfi\n"
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

// TestWayBack: it leads to what ran before the release, however often that has begun anew, and never to its own version.
func TestWayBack(t *testing.T) {
	s := newSite(t)
	s.release(0, "complete", "upgrade", build(t, "v1", ""))
	v2 := build(t, "v2", "")

	// Killed when v2 was live already, so that continue puts it a second time.
	s.release(-1, "", "upgrade", v2, s.at("after", "live a", s.killed()))
	s.release(0, "complete", "continue", "")
	s.runs("v2", "v2")
	s.release(0, "rolled back", "rollback", "")
	s.runs("v1", "v1")

	// One that dies after its turn, and before the last look, did run before.
	s.release(4, "does not run well at a", "upgrade", v2, s.at("before", "put b", fmt.Sprintf("read -r pid <%s; kill -9 $pid", s.nodes[0].Path("pid"))))
	s.release(0, "complete", "continue", "")
	s.runs("v2", "v2")
	s.release(0, "rolled back", "rollback", "")
	s.runs("v1", "v1")

	// So did one that has died with its old version.
	check := "CHECK=dash " + s.script("check.sh", "case $(curl -s \"$URL/whoami\") in *v2*) exit 1 ;; esac\n")
	s.release(1, "has its old version back", "upgrade", v2, check)
	s.nodes[0].Control("stop", "BIN="+s.bin(s.nodes[0]))
	s.release(0, "complete", "continue", "", "CHECK=true")
	s.release(0, "rolled back", "rollback", "")
	s.runs("v1", "v1")
}
