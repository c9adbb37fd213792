//go:build unix

package drain

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

// controlName is, with the path behind it, the name under which the control socket is passed on. It goes as a file, not
// as a listener: tableflip removes the files of unix listeners before a drain.
const controlName = "baton-control "

// controlTemp begins the name of the folder in which a socket is bound.
const controlTemp = ".control"

// openControl returns the control socket: the one of the generation before, or a new one.
func (sys *system) openControl(path string, log *slog.Logger) (*control, error) {
	explain := func(err error) error {
		return fmt.Errorf("drain: Config.ControlSocket: %s can't be made: %w; name a file in a folder "+
			"that this user may write", path, err)
	}
	if err := checkFolder(path); err != nil {
		return nil, err
	}
	c := &control{path: path}
	f, err := sys.files.File(controlName + path)
	if err != nil {
		return nil, fmt.Errorf("drain: Config.ControlSocket: %w", err)
	}
	if f != nil {
		defer f.Close()
		if c.file, err = os.Lstat(path); err == nil { // or somebody has removed it, and nobody could reach it
			if c.ln, err = net.FileListener(f); err != nil {
				return nil, fmt.Errorf("drain: Config.ControlSocket: %w", err)
			}
		}
	}
	if c.ln == nil {
		if err := checkControl(path); err != nil {
			return nil, err
		}
		ln, err := bindControl(path)
		if err != nil {
			return nil, explain(err)
		}
		c.ln, c.own = ln, true
		if c.file, err = os.Lstat(path); err == nil {
			err = sys.passOn(controlName+path, ln)
		}
		if err != nil {
			c.end(false, false)
			return nil, explain(err)
		}
	}
	c.ln = &gate{c.ln.(*net.UnixListener), log}
	return c, nil
}

func (sys *system) passOn(name string, ln *net.UnixListener) error {
	f, err := ln.File()
	if err != nil {
		return err
	}
	defer f.Close()
	return sys.files.AddFile(name, f)
}

// checkControl tells whether a socket can be put at path.
func checkControl(path string) error {
	if path == "" {
		return nil
	}
	explain := func(format string, args ...any) error {
		return fmt.Errorf("drain: Config.ControlSocket: %s "+format, append([]any{path}, args...)...)
	}
	var addr unix.RawSockaddrUnix
	bound := filepath.Join(filepath.Dir(path), controlTemp+"4294967295", "s")
	if max(len(path), len(bound)) >= len(addr.Path) {
		return explain("is too long for a socket: name a path of fewer than %d bytes, in a folder of "+
			"fewer than %d", len(addr.Path), len(addr.Path)-len(bound)+len(filepath.Dir(path)))
	}
	if err := checkFolder(path); err != nil {
		return err
	}
	if err := unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK); err != nil {
		return explain("can't be made: %w; name a file in a folder that this user may write", err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return explain("can't be made: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return explain("is there and no socket (%s): name another", info.Mode())
	}
	nc, err := net.Dial("unix", path)
	if err == nil {
		_ = nc.Close()
		return explain("is answered by a living process: stop it, or name another")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) { // which means that nobody has it open any more
		return explain("is there and may be in use: %w; remove it if it is none of this user's", err)
	}
	return nil
}

// checkFolder tells whether somebody else may put another socket in the place of the one at path,
// and so hear and answer what is meant for the service: those that may write its folder, or one above it.
// Where the sticky bit is set, as in /tmp, others may write but take nothing away. Root may in any
// case.
func checkFolder(path string) error {
	dir := filepath.Dir(path)
	for at := dir; ; at = filepath.Dir(at) {
		var st unix.Stat_t
		if err := unix.Stat(at, &st); err != nil {
			return fmt.Errorf("drain: Config.ControlSocket: %s can't be made: %w", path, err)
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
			return fmt.Errorf("drain: Config.ControlSocket: %s can't be trusted there: %s %s: "+
				"name a file in a folder that is this user's alone to write, or take the right from the "+
				"others", path, at, why)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// bindControl makes a listening socket at path, in the place of whatever is there. It is bound in a folder that nobody
// else can enter, and comes to its place by rename, so that it is never open wider than it should be. The umask, which
// could do it too, is the whole process's.
func bindControl(path string) (*net.UnixListener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), controlTemp) // its mode is 0700
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

// gate lets in processes of this user and of root only, should the file's mode be changed, or the
// folder's owner not heed it (unix(7): connecting needs write permission on Linux; POSIX promises
// nothing).
type gate struct {
	*net.UnixListener
	log *slog.Logger
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		nc, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peer(nc)
		if errors.Is(err, errors.ErrUnsupported) || err == nil && (uid == 0 || uid == os.Geteuid()) {
			return nc, nil
		}
		_ = nc.Close()
		g.log.Warn("control socket: not for this user", "uid", uid, "err", err)
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
