//go:build unix

package drain_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A folder in which others could put another socket is no place for the control socket, for no generation.
// controlsock.TestFolderOfOthers has all sorts of them.
func TestControlSocketInAFolderOfOthers(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	chmod := func(mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	p := plan{Control: filepath.Join(dir, "c")}
	words := []string{"Config.ControlSocket", p.Control, "may be written by everybody (mode 0777)", "name a file in"}
	s := start(t, p)
	chmod(0o777)
	mark := s.mark()
	s.signal(s.pgid, syscall.SIGHUP)
	s.wantWords(errors.New(s.eventSince(mark, 1, "swap failed").Err), words...)
	chmod(0o700)
	s.swap()
	s.mustControl("stop")
	s.gone()

	chmod(0o777)
	s = begin(t, p)
	s.wantWords(errors.New(s.noteSince(0, 0, "error ").Note), words...)
	s.wantExit(s.pgid, 1)
}
