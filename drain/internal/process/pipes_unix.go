//go:build unix

package process

import (
	"os"
	"os/signal"
	"syscall"
)

// OutliveBrokenPipes keeps a log whose reader has gone from ending the process: package os lets SIGPIPE
// do that where standard output or error is a closed pipe, unless the signal is taken. Writes
// return EPIPE.
func OutliveBrokenPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// A new generation may log before New, to a reader that is gone. For generation 1 of a keeper, its package does this.
func init() {
	if Started() {
		OutliveBrokenPipes()
	}
}
