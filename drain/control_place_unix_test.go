//go:build unix

package drain_test

import (
	"os"
	"path/filepath"
	"testing"
)

// A new version may have its control socket elsewhere, or have none.
func TestControlSocketOfANewVersion(t *testing.T) {
	s := start(t, plan{}, withControl)
	first := s.plan.Control
	next := func(path, fault string) {
		t.Helper()
		s.plan.Control = path
		s.nextHas(fault)
	}
	wantGeneration := func(n int) {
		t.Helper()
		if st := s.mustControl("status"); st.Generation != n {
			t.Errorf("generation %d answers; want %d", st.Generation, n)
		}
	}
	wantNone := func(path string) {
		t.Helper()
		s.eventually(path+" to be gone", func() bool { _, err := os.Lstat(path); return err != nil })
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
	must(t, err)
	wantGeneration(2)
	wantNone(first)

	must(t, os.Symlink(s.dir, filepath.Join(s.dir, "link")))
	next(filepath.Join(s.dir, "link", "other"), "") // the same
	s.mustControl("swap")
	wantGeneration(3)
	s.event(3, "promoted")

	must(t, os.Remove(other)) // by a zealous cleaner
	s.swap()
	wantGeneration(4)

	file := filepath.Join(s.dir, "file")
	must(t, write("precious", 0o600)(file))
	next(file, "")
	_, err = s.controlAt(other, "swap")
	s.wantWords(err, "Config.ControlSocket", "no socket", "generation 4 serves on")

	next("", "")
	_, err = s.controlAt(other, "swap")
	must(t, err)
	s.event(5, "promoted")
	wantNone(other)

	next(other, "")
	s.swap()
	wantGeneration(6)
	must(t, os.Rename(file, other)) // somebody has put his own there
	s.stop()
	if text, err := os.ReadFile(other); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}
