package controlsock

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dialAs connects as another user. The thread that becomes that user ends with its goroutine.
func dialAs(uid int, path string) (nc net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			err = errno
			return
		}
		nc, err = net.Dial("unix", path)
	}()
	<-done
	return nc, err
}

// Where the file lets others connect, the socket does not. Its mode is not all that keeps them out.
func TestAcceptTurnsOthersAway(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	path := place(t)
	var log bytes.Buffer
	s, err := Open(path, nil, false, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := filepath.Dir(path)
	if _, err := dialAs(nobody, path); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("others connect, %v; want that they can't", err)
	}
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	stranger, err := dialAs(nobody, path)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if !answers(t, s) {
		t.Error("root is turned away")
	}
	if n, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Errorf("a stranger has read %d bytes", n)
	}
	if !strings.Contains(log.String(), "control socket: not for this user") ||
		!strings.Contains(log.String(), "uid=65534") {
		t.Errorf("the log is %q", &log)
	}
}
