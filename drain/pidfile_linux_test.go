package drain_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What is no PID file is not opened: it might make the service wait, do something, or never end.
func TestPIDFileThatIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	sock, err := net.Listen("unix", at("socket"))
	err = errors.Join(err, syscall.Mkfifo(at("fifo"), 0o600), os.Symlink("fifo", at("link")),
		os.Symlink("/dev/zero", at("zero")),
		os.Symlink("/dev/tty", at("tty")), os.WriteFile(at("large"), nil, 0o600), os.Truncate(at("large"), 1<<40),
		os.Mkdir(at("folder"), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sock.Close() })
	for name, word := range map[string]string{
		"fifo": "not a regular file", "link": "not a regular file", "zero": "not a regular file", "tty": "not a regular file",
		"socket": "not a regular file", "folder": "not a regular file", "large": "1099511627776 bytes",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := begin(t, plan{PIDFile: at(name)})
			r := s.noteSince(0, 0, "error ")
			s.wantWords(errors.New(r.Note), "Config.PIDFile", at(name), word, "name another")
			s.wantExit(s.pgid, 1)
		})
	}
}

// Nor is what has come to its place since.
func TestPIDFileThatBecomesNone(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	if err := errors.Join(os.Remove(s.plan.PIDFile), syscall.Mkfifo(s.plan.PIDFile, 0o600)); err != nil {
		t.Fatal(err)
	}
	mark := s.mark()
	s.signal(s.pgid, syscall.SIGHUP)
	s.wantWords(errors.New(s.eventSince(mark, 1, "swap failed").Err), "Config.PIDFile", "not a regular file")
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantExit(s.pgid, 0)
	if info, err := os.Lstat(s.plan.PIDFile); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("%v, %v; want it to be left alone", info, err)
	}
}

// A folder that has become read-only makes a swap fail, at whichever step it is found, and a stop say so.
func TestPIDFileInAReadOnlyFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mountTiny(t, dir)
	readOnly := func(flag uintptr) {
		t.Helper()
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flag, ""); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, plan{PIDFile: filepath.Join(dir, "pid")})
	for _, at := range []string{"before New", "in Ready"} {
		mark := s.mark()
		open := s.beginSwap(at)
		readOnly(unix.MS_RDONLY)
		open()
		s.wantWords(errors.New(s.eventSince(mark, 1, "swap failed").Err), "Config.PIDFile", s.plan.PIDFile,
			"read-only", "write")
		s.wantAlone(s.pgid)
		s.wantPIDFile(s.pgid)
		readOnly(0)
	}
	two := s.swap()
	s.wantPIDFile(two.PID)
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left in the folder: %v", left)
	}
	readOnly(unix.MS_RDONLY)
	s.signal(two.PID, syscall.SIGTERM)
	if r := s.event(2, "PID file"); r.Err == "" {
		t.Error(r)
	} else {
		s.wantWords(errors.New(r.Err), "Config.PIDFile", "stays behind", s.plan.PIDFile)
	}
	s.wantExit(two.PID, 0)
}
