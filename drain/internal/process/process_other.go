//go:build !unix

package process

import (
	"errors"
	"os"
)

// Preflight returns errors.ErrUnsupported: this system starts no next generation.
func Preflight(_, _ string) error { return errors.ErrUnsupported }

// OutliveBrokenPipes does nothing: this system has no SIGPIPE.
func OutliveBrokenPipes() {}

// Getenv returns a variable as it is, or "".
func Getenv(name string) string { return os.Getenv(name) }

// Score returns "": this system has none.
func Score() string { return "" }

// AtStart returns the path.
func AtStart(path string) string { return path }

// OwnStderr does nothing: standard error is what it was.
func OwnStderr() {}
