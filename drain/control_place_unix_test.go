//go:build unix

package drain_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A new version may have its control socket elsewhere, or have none.
func TestControlSocketOfANewVersion(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withControl)
	first := s.plan.Control
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	next := func(path, fault string) {
		t.Helper()
		s.plan.Control, s.plan.Fault = path, fault
		s.replan()
	}
	wantGeneration := func(n int) {
		t.Helper()
		if st := s.mustControl("status"); st.Generation != n {
			t.Errorf("generation %d answers; want %d", st.Generation, n)
		}
	}
	wantNone := func(path string) { // soon: nobody waits for that
		t.Helper()
		for timeout := time.After(hung); ; {
			if _, err := os.Lstat(path); err != nil {
				return
			}
			select {
			case <-time.After(time.Millisecond):
			case <-timeout:
				t.Fatalf("%s is left", path)
			}
		}
	}

	other := filepath.Join(s.dir, "other")
	next(other, "check fails")
	_, err := s.controlAt(first, "swap")
	s.wantWords(err, "the database is away")
	wantNone(other)
	next(first, "")
	wantGeneration(1)

	next(other, "")
	_, err = s.controlAt(first, "swap")
	try(err)
	wantGeneration(2)
	wantNone(first)

	try(os.Symlink(s.dir, filepath.Join(s.dir, "link")))
	next(filepath.Join(s.dir, "link", "other"), "") // the same
	s.mustControl("swap")
	wantGeneration(3)
	s.event(3, "promoted")

	try(os.Remove(other)) // by a zealous cleaner
	s.swap()
	wantGeneration(4)

	file := filepath.Join(s.dir, "file")
	try(write("precious", 0o600)(file))
	next(file, "")
	_, err = s.controlAt(other, "swap")
	s.wantWords(err, "Config.ControlSocket", "no socket", "generation 4 serves on")

	next("", "")
	_, err = s.controlAt(other, "swap")
	try(err)
	s.event(5, "promoted")
	wantNone(other)

	next(other, "")
	s.swap()
	wantGeneration(6)
	try(os.Rename(file, other)) // somebody has put his own there
	s.stop()
	if text, err := os.ReadFile(other); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestControlSocketThatCantBe(t *testing.T) {
	t.Parallel()
	taken := start(t, plan{}, withControl)
	s := begin(t, plan{Control: taken.plan.Control})
	s.wantWords(errors.New(s.noteSince(0, 0, "error ").Note), "Config.ControlSocket", "answered by a living process",
		"name another")
	s.gone()
	s.wantExit(s.pgid, 1)
	taken.mustControl("stop")
}
