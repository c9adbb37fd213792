//go:build !unix

package process

// OutliveBrokenPipes does nothing: this system has no SIGPIPE.
func OutliveBrokenPipes() {}
