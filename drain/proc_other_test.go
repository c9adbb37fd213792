//go:build unix && !linux

package drain_test

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

const keepIdle = 0 // not the same everywhere

func becomeSubreaper() {}

// awaitGone blocks until the process has exited; who learns the exit code is its parent.
func awaitGone(pid int) int {
	for syscall.Kill(pid, 0) == nil {
		<-time.After(5 * time.Millisecond)
	}
	return unknownExit
}

// living returns the process group while it has members.
func living(pgid int) []int {
	if syscall.Kill(-pgid, 0) == nil {
		return []int{pgid}
	}
	return nil
}

func (*gen) starve(string) error { return errors.ErrUnsupported }
func (*gen) forgetStart() error  { return errors.ErrUnsupported }

func mountTiny(t testing.TB, _ string) { t.Helper(); t.Skip("no small file system") }
