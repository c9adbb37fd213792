//go:build unix

package controlsock

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is the user and the group of others.
const nobody = 65534

// place returns a path for a socket, in a folder with a short name.
func place(t *testing.T) string {
	t.Helper()
	above, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(above) })
	dir := filepath.Join(above, "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "c")
}

func open(t *testing.T, path string, passed *os.File) *Socket {
	t.Helper()
	s, err := Open(path, passed, false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// pass returns a copy of a new socket, as the next generation gets it.
func pass(t *testing.T, s *Socket) (passed *os.File) {
	t.Helper()
	err := s.PassOn(func(f *os.File) error {
		rc, err := f.SyscallConn()
		if err != nil {
			return err
		}
		return rc.Control(func(fd uintptr) {
			copied, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
			}
			passed = os.NewFile(uintptr(copied), "passed")
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = passed.Close() })
	return passed
}

// answers tells whether a client that connects to the path is accepted by s.
func answers(t *testing.T, s *Socket) bool {
	t.Helper()
	nc, err := net.Dial("unix", s.Path)
	if err != nil {
		return false
	}
	defer nc.Close()
	got, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return got.Close() == nil
}

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v; want %q", err, word)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func TestOnlyThisUserReachesTheFile(t *testing.T) {
	t.Parallel()
	s := open(t, place(t), nil)
	info, err := os.Lstat(s.Path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if left, err := os.ReadDir(filepath.Dir(s.Path)); err != nil || len(left) != 1 {
		t.Errorf("the folder has %v, %v; want the socket alone", left, err)
	}
	if !answers(t, s) {
		t.Error("nobody can connect")
	}
}

// A generation that never becomes the main one leaves the file that it was passed; the last one removes it.
func TestSocketIsPassedOn(t *testing.T) {
	t.Parallel()
	first := open(t, place(t), nil)
	passed := pass(t, first)
	if failed := open(t, first.Path, passed); !exists(failed.Path) {
		t.Fatal("no socket")
	} else if failed.End(false); !answers(t, first) {
		t.Error("a candidate that failed has taken the socket along")
	}
	second := open(t, first.Path, passed)
	_ = first.Close()
	if !answers(t, second) {
		t.Error("the second does not answer on the socket of the first")
	}
	if err := second.PassOn(func(*os.File) error { return errors.New("twice") }); err != nil {
		t.Errorf("a socket that was passed on is passed on: %v", err)
	}
	if second.End(true); exists(second.Path) {
		t.Error("the file is left")
	}
}

func TestFileThatIsNotOursStays(t *testing.T) {
	t.Parallel()
	s := open(t, place(t), nil)
	if err := errors.Join(os.Remove(s.Path), os.WriteFile(s.Path, []byte("precious"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if s.There() {
		t.Error("another file is taken for the socket")
	}
	s.End(true)
	if text, err := os.ReadFile(s.Path); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}

// Nobody could reach a socket whose file is gone, and a process that is dead needs none.
func TestSocketIsMadeAgain(t *testing.T) {
	t.Parallel()
	t.Run("removed", func(t *testing.T) {
		first := open(t, place(t), nil)
		passed := pass(t, first)
		_ = os.Remove(first.Path)
		if again := open(t, first.Path, passed); !again.made || !answers(t, again) {
			t.Error("the socket that was passed is used")
		}
	})
	t.Run("left by a dead process", func(t *testing.T) {
		stale := open(t, place(t), nil)
		_ = stale.Close()
		if err := Check(stale.Path); err != nil {
			t.Error(err)
		}
		if again := open(t, stale.Path, nil); !answers(t, again) {
			t.Error("the file of a dead process is in use")
		}
	})
	t.Run("that can't be passed on", func(t *testing.T) {
		s := open(t, place(t), nil)
		wantWords(t, s.PassOn(func(*os.File) error { return errors.New("no room") }), "Config.ControlSocket", "no room")
		if exists(s.Path) {
			t.Error("the file is left")
		}
	})
}

func TestPathThatCantBe(t *testing.T) {
	t.Parallel()
	taken := open(t, place(t), nil)
	dir := filepath.Dir(taken.Path)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		words      []string
	}{
		{"of another service", taken.Path, []string{"answered by a living process", "name another"}},
		{"of a file", file, []string{"no socket", "name another"}},
		{"of a folder", dir, []string{"no socket", "name another"}},
		{"in no folder", "/nowhere/control", []string{"/nowhere", "a folder that exists"}},
		{"in proc", "/proc/control", []string{"/proc/control", "can't be made"}},
		{"too long", filepath.Join(dir, strings.Repeat("x", 100)), []string{"too long"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, err := Clean(c.path)
			if err == nil {
				_, err = Open(path, nil, false, slog.Default())
				if wrong := Check(path); wrong == nil && c.name != "in proc" { // which tells no earlier
					t.Error("Check finds nothing")
				}
			}
			wantWords(t, err, append(c.words, "Config.ControlSocket", c.path)...)
		})
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" || !answers(t, taken) {
		t.Errorf("%q, %v, or the socket is gone", text, err)
	}
	if path, err := Clean(""); path != "" || err != nil || Check("") != nil {
		t.Errorf("no path: %q, %v", path, err)
	}
}

// Each generation finds the socket under one name, by whatever link it was named.
func TestCleanFollowsLinksOfTheFolder(t *testing.T) {
	t.Parallel()
	path := place(t)
	link := filepath.Join(filepath.Dir(filepath.Dir(path)), "link")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		t.Fatal(err)
	}
	want, err := Clean(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Clean(filepath.Join(link, "c")); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

// A folder in which others could put another socket is no place for one, new or passed on.
func TestFolderOfOthers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
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
			s := open(t, place(t), nil)
			passed := pass(t, s)
			dir := filepath.Dir(s.Path)
			if err := errors.Join(os.Chown(dir, c.uid, c.gid), os.Chmod(dir, c.mode),
				os.Chmod(filepath.Dir(dir), c.above)); err != nil {
				t.Fatal(err)
			}
			again, err := Open(s.Path, passed, false, slog.Default())
			if c.word == "" {
				if err != nil {
					t.Fatal(err)
				}
				again.End(true)
				if err := Check(s.Path); err != nil {
					t.Error(err)
				}
				return
			}
			wantWords(t, err, "Config.ControlSocket", s.Path, c.word, "name a file in")
			_ = s.Close()
			wantWords(t, Check(s.Path), "Config.ControlSocket", s.Path, c.word, "name a file in")
		})
	}
}
