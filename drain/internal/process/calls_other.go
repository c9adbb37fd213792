//go:build unix && !linux

package process

import (
	"os"

	"golang.org/x/sys/unix"
)

func dupTo(from, to int) error {
	if err := unix.Dup2(from, to); err != nil {
		return err
	}
	unix.CloseOnExec(to)
	return nil
}

// awaitExit would return when a child has exited, before it is reaped.
func awaitExit(int) bool { return false }

// passed would find what has left a child's process group.
type passed []string

func passedTo(*os.File) string { return "" }

func (passed) killHolders() bool { return false }

func dupOnto(from, to int) error { return unix.Dup2(from, to) }
