package drain_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// oldVersion is the oldest version of this library whose generations this one takes over from and hands over
// to: the one before what a link carries was frozen. The first release takes its place when there is one.
const oldVersion = "d47d631e7888ac12cd6d908bc8d0bb3f53c55864"

// oldBinary builds the tests' service of oldVersion, once for each version of Go: it is kept in the user's
// cache. Its plan and its records are those of process_unix_test.go as it was then, so what both have must
// keep its name there.
func oldBinary(t testing.TB) string {
	t.Helper()
	path, err := buildOld()
	switch {
	case errors.As(err, new(missing)) && os.Getenv("CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	return path
}

// missing is why the old version can't be had at all.
type missing string

func (m missing) Error() string { return string(m) }

var buildOld = sync.OnceValues(func() (path string, err error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("git", "-C", root, "rev-parse", "--verify", oldVersion+"^{commit}").CombinedOutput()
	if err != nil {
		return "", missing(fmt.Sprintf("the history up to %.7s is missing (git fetch --unshallow gets it): %v\n%s",
			oldVersion, err, out))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "baton", "versions")
	path = filepath.Join(dir, fmt.Sprintf("%.7s-%s", oldVersion, runtime.Version()))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tree, err := os.MkdirTemp("", "baton-old")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tree)
	script := `set -e
git -C "$1" archive --format=tar "$2" >"$3/tree.tar"
mkdir "$3/tree"
tar -xf "$3/tree.tar" -C "$3/tree"
cd "$3/tree"
go test -c -trimpath -o "$3/old" ./drain
`
	cmd := exec.Command("/bin/sh", "-c", script, "sh", root, oldVersion, tree)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build of %.7s: %w\n%s", oldVersion, err, out)
	}
	// By way of a name of its own: another test process may be at it too.
	text, err := os.ReadFile(filepath.Join(tree, "old"))
	if err == nil {
		err = os.WriteFile(fmt.Sprintf("%s.%d", path, os.Getpid()), text, 0o755)
	}
	if err == nil {
		err = os.Rename(fmt.Sprintf("%s.%d", path, os.Getpid()), path)
	}
	return path, err
})

// speaks is what a version of the library speaks, and the oldest that it can be swapped with.
type speaks [2]int

// silent is d47d631, which says nothing of what it speaks.
var silent speaks

// A swap between versions that don't fit fails with a sentence that says so, whichever of the two notices.
// Versions that fit are swapped, however much one of them has to say that the other does not know.
func TestSwapToAVersionThatDoesNotFitFails(t *testing.T) {
	type row struct {
		old, new speaks
		reason   string // "": they fit
	}
	each(t, map[string]row{
		"the new one is too new": {speaks{2, 1}, speaks{3, 3}, "of the protocol between generations, this one"},
		"the old one is too new": {speaks{3, 3}, speaks{2, 1}, "of the protocol between generations, this one"},
		"the new one is silent": {speaks{2, 2}, silent,
			"speaks version 1 of the protocol between generations, this one needs 2"},
		"the old one is silent": {silent, speaks{2, 2},
			"speaks version 1 of the protocol between generations, this one needs 2"},
		"the new one is newer, fits": {speaks{2, 1}, speaks{9, 2}, ""},
		"the old one is newer, fits": {speaks{9, 2}, speaks{2, 1}, ""},
	}, func(t *testing.T, x row) {
		var v versions
		if x.old == silent || x.new == silent {
			v = bothVersions(t)
		}
		deploy := func(s *service, as speaks) {
			s.plan.Speaks = as
			if as == silent {
				v.deploy(s, "old")
			} else {
				s.install()
			}
		}
		s := start(t, plan{Speaks: x.old}, func(s *service, _ *exec.Cmd) { deploy(s, x.old) })
		l := s.drive(4, 4*time.Millisecond)
		if x.reason != "" {
			s.wantFailure(l, x.reason, func() { deploy(s, x.new); s.replan() })
			if err := s.event(1, "swap failed").Err; !strings.Contains(err,
				"swap to a version of the library between the two first") {
				t.Errorf("%s; want a cure", err)
			}
			x.new = x.old
		}
		deploy(s, x.new)
		s.replan()
		s.swap()
		l.end()
		s.stop()
		s.wantNothingLost()
	})
}

// A version that does not know Lead, between two that do, hands on what it does not understand as far as the
// new one needs it.
func TestTwoVersionsLead(t *testing.T) {
	v := bothVersions(t)
	s, open := startAt(t, "gated", plan{Leads: []string{"gated", "one"}, MaxGenerations: 8, DrainTimeout: 2 * hung})
	s.await(0, "gated", noted(1, "gated begun"))
	v.swapTo(s, "old")
	s.noteSince(0, s.pgid, "gated told")
	s.awaitOlder(1)
	s.eventually("the last that changes for now", func() bool { // to the old version
		return s.status().Older[0].Tasks == 1
	})
	v.swapTo(s, "new")
	s.await(0, "one", noted(3, "one begun")) // soon after, since generation 1 says again what it leads
	for _, r := range s.since(0) {
		if r.Gen > 1 && r.Note == "gated begun" {
			t.Error(r)
		}
	}
	open()
	s.await(0, "gated", noted(3, "gated begun"))
	s.wantExit(s.pgid, 0)
	v.swapTo(s, "old")
	s.noteSince(0, 0, "gated told")
	v.swapTo(s, "new")
	s.await(0, "gated", noted(5, "gated begun"))
	s.stop()
	s.wantNoOverlap()
	s.wantOrder(noted(1, "gated ended"), noted(3, "gated begun"), noted(3, "gated ended"), noted(5, "gated begun"))
}
