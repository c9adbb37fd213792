//go:build unix

package controlsock

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// temp begins the name of the folder in which a socket is bound.
const temp = ".control"

// Socket is a listening socket at a path.
type Socket struct {
	net.Listener
	Path string
	made bool        // by this process, not passed on
	file fs.FileInfo // of the socket, to know it again
	bare *net.UnixListener
}

// Open returns the socket that was passed on, if its file still exists, or a new one. The caller
// closes passed, which may be nil. Strange tells that the file is another program's: it stays while that program lives,
// which is logged. A client of another user is turned away, which is logged too.
func Open(path string, passed *os.File, strange bool, log *slog.Logger) (s *Socket, err error) {
	if err := checkFolder(path); err != nil {
		return nil, err
	}
	s = &Socket{Path: path}
	if passed != nil && s.stays(strange, log) {
		ln, err := net.FileListener(passed)
		if err != nil {
			return nil, wrong("%w", err)
		}
		s.bare = ln.(*net.UnixListener)
	}
	if s.bare == nil {
		if err := Check(path); err != nil {
			return nil, err
		}
		s.bare, err = bind(path)
		if err == nil {
			s.made = true
			s.file, err = os.Lstat(path)
		}
		if err != nil {
			return nil, s.fail(err)
		}
	}
	s.Listener = &peerCredListener{s.bare, log}
	return s, nil
}

// stays tells whether what was passed is used: without a file, no client could reach it.
func (s *Socket) stays(strange bool, log *slog.Logger) bool {
	info, err := os.Lstat(s.Path)
	if err != nil || !strange {
		s.file = info
		return err == nil
	}
	err = Check(s.Path)
	if err != nil {
		log.Warn("the control socket's file is another program's, so no command comes here", "err", err)
	}
	return err != nil
}

// fail ends s, and says why it can't be.
func (s *Socket) fail(err error) error {
	if s.bare != nil {
		s.End(true)
	}
	return wrong("%s can't be made: %w; name a file in a folder that this user may write", s.Path, err)
}

// PassOn gives a new socket to pass, which adds it to what each next generation gets. A socket that
// was passed to this process is there already. An error closes the socket.
func (s *Socket) PassOn(pass func(f *os.File) error) error {
	if !s.made {
		return nil
	}
	f, err := s.bare.File()
	if err == nil {
		err = pass(f)
		_ = f.Close()
	}
	if err != nil {
		return s.fail(err)
	}
	return nil
}

// There tells whether the file is still the one that this service made.
func (s *Socket) There() bool {
	info, err := os.Lstat(s.Path)
	return err == nil && os.SameFile(info, s.file)
}

// End stops accepting. The owner, which is or was the main generation, removes the file. A candidate
// removes only a file that it has made itself.
func (s *Socket) End(owner bool) {
	_ = s.bare.Close()
	if (owner || s.made) && s.There() {
		_ = os.Remove(s.Path)
	}
}

// Check tells whether a socket can be put at path.
func Check(path string) error {
	if path == "" {
		return nil
	}
	var addr unix.RawSockaddrUnix
	dir := filepath.Dir(path)
	bound := filepath.Join(dir, temp+"4294967295", "s")
	if max(len(path), len(bound)) >= len(addr.Path) {
		return wrong("%s is too long for a socket: name a path of fewer than %d bytes, in a folder of "+
			"fewer than %d", path, len(addr.Path), len(addr.Path)-len(bound)+len(dir))
	}
	if err := checkFolder(path); err != nil {
		return err
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return wrong("%s can't be made: %w; name a file in a folder that this user may write", path, err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return wrong("%s can't be made: %w", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return wrong("%s exists and is no socket (%s): name another", path, info.Mode())
	}
	nc, err := net.Dial("unix", path)
	if err == nil {
		_ = nc.Close()
		return wrong("%s is answered by a living process: stop it, or name another", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) { // which means that no process has it open any more
		return wrong("%s is a socket that cannot be connected to: %w; stop the process that uses it and "+
			"remove the file, or name another", path, err)
	}
	return nil
}

// checkFolder returns an error if another user could replace the socket at path, and so read and answer commands for
// the service. That is a user that may write its folder, or a folder above. In a folder with the sticky bit, such as
// /tmp, others may add files but not replace one. Root may do so in any case.
func checkFolder(path string) error {
	dir := filepath.Dir(path)
	for at := dir; ; at = filepath.Dir(at) {
		var st unix.Stat_t
		if err := unix.Stat(at, &st); err != nil {
			return wrong("%s can't be made: %w", path, err)
		}
		why := ""
		switch mode := uint32(st.Mode); {
		case at == dir && int(st.Uid) != os.Geteuid() && st.Uid != 0:
			why = fmt.Sprintf("belongs to another user (uid %d)", st.Uid)
		case mode&unix.S_ISVTX != 0:
		case mode&0o002 != 0:
			why = fmt.Sprintf("may be written by everybody (mode %#o)", mode&0o7777)
		case at == dir && mode&0o020 != 0 && int(st.Gid) != os.Getegid() && st.Gid != 0:
			why = fmt.Sprintf("may be written by another group (mode %#o, gid %d)", mode&0o7777, st.Gid)
		}
		if why != "" {
			return wrong("%s can't be trusted there: %s %s: name a file in a folder that is this user's "+
				"alone to write, or take the right from the others", path, at, why)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// bind makes a listening socket at path, and replaces a file there. It binds the socket in a folder
// that no other user can enter, and renames it to its place: its mode is never wider than 0600. The
// umask, which could do it too, is the whole process's.
func bind(path string) (*net.UnixListener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), temp) // its mode is 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bound := filepath.Join(dir, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: bound, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // its name there is not the one it will have
	if err := errors.Join(os.Chmod(bound, 0o600), os.Rename(bound, path)); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

// peerCredListener accepts clients of this user and of root only. The mode of the file may be
// changed, and systems other than Linux may ignore it (see unix(7)).
type peerCredListener struct {
	*net.UnixListener
	log *slog.Logger
}

func (l *peerCredListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peer(nc)
		if errors.Is(err, errors.ErrUnsupported) || err == nil && (uid == 0 || uid == os.Geteuid()) {
			return nc, nil
		}
		_ = nc.Close()
		l.log.Warn("control socket: not for this user", "uid", uid, "err", err)
	}
}

// peer returns the effective user of the process that has connected.
func peer(nc *net.UnixConn) (uid int, err error) {
	rc, err := nc.SyscallConn()
	if err != nil {
		return -1, err
	}
	uid = -1
	ctlErr := rc.Control(func(fd uintptr) { uid, err = peerOf(int(fd)) })
	return uid, errors.Join(ctlErr, err)
}
