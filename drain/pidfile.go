package drain

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// pidFile is the path of a PID file; "" is none.
type pidFile string

// check tells, before anything is opened, whether the file can be written later and names no living process other than
// ours: this one and its predecessor.
func (p pidFile) check(ours ...int) error {
	if p == "" {
		return nil
	}
	if pid, err := p.read(); err == nil && alive(pid) {
		if !slices.Contains(ours, pid) {
			return fmt.Errorf("drain: Config.PIDFile: %s names process %d%s, which is alive and not ours: stop it, or remove the file if it is none of this service", p, pid, command(pid))
		}
	}
	probe, err := os.CreateTemp(filepath.Dir(string(p)), filepath.Base(string(p))+".*")
	if err != nil {
		return fmt.Errorf("drain: Config.PIDFile: can't write %s: %w; name a file in a folder that exists and that this user may write", p, err)
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	if info, err := os.Stat(string(p)); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("drain: Config.PIDFile: %s is not a regular file (%s): name another", p, info.Mode())
	}
	return nil
}

func (p pidFile) read() (int, error) {
	text, err := os.ReadFile(string(p))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(text)))
}

// write replaces the file by rename, so that a reader sees the old or the new pid and a full disk leaves the old.
func (p pidFile) write(pid int) (err error) {
	if p == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("drain: Config.PIDFile: can't write %s: %w", p, err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(string(p)), filepath.Base(string(p))+".*")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, pid)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), string(p))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// restore writes pid again if the file holds another.
func (p pidFile) restore(pid int) error {
	if p == "" {
		return nil
	}
	if got, err := p.read(); err == nil && got == pid {
		return nil
	}
	return p.write(pid)
}

// remove removes the file if it holds pid.
func (p pidFile) remove(pid int) error {
	if p == "" {
		return nil
	}
	if got, err := p.read(); err != nil || got != pid {
		return nil
	}
	if err := os.Remove(string(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}
