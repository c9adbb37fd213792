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
func TestControlSocketInAFolderOfOthers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	const nobody = 65534
	for _, c := range []struct {
		name     string
		mode     os.FileMode
		uid, gid int
		above    os.FileMode
		word     string // "": it is fine
	}{
		{"everybody's", 0o777, 0, 0, 0o755, "may be written by everybody (mode 0777)"},
		{"below everybody's", 0o700, 0, 0, 0o777, "may be written by everybody (mode 0777)"},
		{"another user's", 0o755, nobody, 0, 0o755, "belongs to another user (uid 65534)"},
		{"another user's, sticky", 0o777 | os.ModeSticky, nobody, 0, 0o755, "belongs to another user (uid 65534)"},
		{"another group's", 0o770, 0, nobody, 0o755, "may be written by another group (mode 0770, gid 65534)"},
		{"another group's to read", 0o750, 0, nobody, 0o755, ""},
		{"our group's", 0o770, 0, 0, 0o755, ""},
		{"sticky", 0o777 | os.ModeSticky, 0, 0, 0o755, ""},
		{"below a sticky one", 0o700, 0, 0, 0o777 | os.ModeSticky, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			above := shortDir(t)
			dir := filepath.Join(above, "d")
			spoil := func() {
				t.Helper()
				if err := errors.Join(os.Chown(dir, c.uid, c.gid), os.Chmod(dir, c.mode), os.Chmod(above, c.above)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			p := plan{Control: filepath.Join(dir, "c")}
			if c.word == "" {
				spoil()
				s := start(t, p)
				s.swap()
				s.mustControl("stop")
				return
			}
			s := start(t, p)
			spoil()
			mark := s.mark()
			s.signal(s.pgid, syscall.SIGHUP)
			s.wantWords(errors.New(s.eventSince(mark, 1, "swap failed").Err), "Config.ControlSocket", p.Control, c.word,
				"name a file in")
			if err := errors.Join(os.Chown(dir, 0, 0), os.Chmod(dir, 0o700), os.Chmod(above, 0o700)); err != nil {
				t.Fatal(err)
			}
			s.swap()
			s.mustControl("stop")
			s.gone()

			spoil()
			s = begin(t, p)
			s.wantWords(errors.New(s.noteSince(0, 0, "error ").Note), "Config.ControlSocket", p.Control, c.word,
				"name a file in")
			s.wantExit(s.pgid, 1)
		})
	}
}
