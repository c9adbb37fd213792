//go:build unix && !linux

package main

// adoptOrphans does nothing: only Linux has it, and elsewhere the exit codes of later generations stay unseen.
func adoptOrphans() {}

func watchExit(pid int) func() (code int, seen bool) {
	return func() (int, bool) { return pollExit(pid) }
}
