//go:build unix && !linux

package process

import "golang.org/x/sys/unix"

func dupTo(from, to int) error {
	if err := unix.Dup2(from, to); err != nil {
		return err
	}
	unix.CloseOnExec(to)
	return nil
}
