// Package pidfile keeps the PID file, which names the main generation, over swaps.
package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/baton-go/baton/drain/internal/proc"
)

// Path is the path of a PID file; "" is none.
type Path string

// maxPIDFile is more bytes than a PID file has.
const maxPIDFile = 1 << 10

// Check tells, before anything is opened, whether the file can be written later and names no living generation of a
// service other than ours: this one and its predecessor. Another program may have the number by now.
func (p Path) Check(ours ...int) error {
	if p == "" {
		return nil
	}
	if pid, service, err := p.read(); err == nil && service && !slices.Contains(ours, pid) && proc.Alive(pid) {
		return fmt.Errorf("drain: Config.PIDFile: %s names process %d%s, a service that is alive and not ours: stop "+
			"it, or name another file", p, pid, proc.Command(pid))
	} else if errors.As(err, new(notPIDFile)) {
		return fmt.Errorf("drain: Config.PIDFile: %s %w: name another", p, err)
	}
	probe, err := os.CreateTemp(filepath.Dir(string(p)), filepath.Base(string(p))+".*")
	if err != nil {
		return fmt.Errorf("drain: Config.PIDFile: can't write %s: %w; name a file in a folder that "+
			"exists and that this user may write", p, bare(err))
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return nil
}

// bare is an error of package os without the name of the temporary file beside p.
func bare(err error) error {
	if path := new(fs.PathError); errors.As(err, &path) {
		return path.Err
	}
	return err
}

// notPIDFile is the error for a file that is no PID file, and is not to be replaced.
type notPIDFile string

func (e notPIDFile) Error() string { return string(e) }

// read returns the pid in the file, and whether a living service holds it. It opens nothing but a small regular file: a
// FIFO would make it wait, a device may act, or never end.
func (p Path) read() (pid int, service bool, err error) {
	look := func(info fs.FileInfo, err error) error {
		switch {
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return notPIDFile(fmt.Sprintf("is not a regular file (%s)", info.Mode()))
		case info.Size() > maxPIDFile:
			return notPIDFile(fmt.Sprintf("has %d bytes and is no PID file", info.Size()))
		}
		return nil
	}
	if err := look(os.Stat(string(p))); err != nil {
		return 0, false, err
	}
	f, err := os.OpenFile(string(p), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	if err := look(f.Stat()); err != nil { // it may be another file by now
		return 0, false, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPIDFile))
	if err != nil {
		return 0, false, err
	}
	pid, err = strconv.Atoi(string(bytes.TrimSpace(text)))
	return pid, isHeld(f), err
}

// Prepare writes pid beside the file, which is what can fail: on a full disk the old file stays.
// The function returned puts it in the file's place by rename, so that a reader sees the old or the
// new pid. On ext4 that takes a millisecond, during which clients need not wait.
func (p Path) Prepare(pid int) (place func() error, err error) {
	if p == "" {
		return func() error { return nil }, nil
	}
	explain := func(f *os.File, err error) error {
		if err != nil && f != nil {
			_ = os.Remove(f.Name())
		}
		if err != nil {
			err = fmt.Errorf("drain: Config.PIDFile: can't write %s: %w; this user must be able to write "+
				"its folder, also in a swap", p, bare(err))
		}
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(string(p)), filepath.Base(string(p))+".*")
	if err != nil {
		return nil, explain(nil, err)
	}
	_, err = fmt.Fprintln(f, pid)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		hold(f.Name())
	}
	return func() error { return explain(f, os.Rename(f.Name(), string(p))) }, explain(f, err)
}

// Reclaim writes pid again if the file names a process that is dead by now.
func (p Path) Reclaim(pid int) error {
	if p == "" {
		return nil
	}
	if got, _, err := p.read(); err != nil || got == pid || proc.Alive(got) {
		return nil
	}
	place, err := p.Prepare(pid)
	if err != nil {
		return err
	}
	return place()
}

// Remove removes the file if it holds pid.
func (p Path) Remove(pid int) error {
	if p == "" {
		return nil
	}
	if got, _, err := p.read(); err != nil || got != pid {
		return nil
	}
	if err := os.Remove(string(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drain: Config.PIDFile: the file of this process stays behind: %w", err)
	}
	return nil
}
