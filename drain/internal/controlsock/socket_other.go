//go:build !unix

package controlsock

import (
	"errors"
	"log/slog"
	"net"
	"os"
)

// errNone says that there is no control socket here.
var errNone = wrong("not on this platform, where nothing tells whose a client is: leave it empty (%w)",
	errors.ErrUnsupported)

// Socket does nothing.
type Socket struct {
	net.Listener
	Path string
}

// Open returns an error: this system does not tell the user of a client.
func Open(string, *os.File, bool, *slog.Logger) (*Socket, error) { return nil, errNone }

// There returns false.
func (*Socket) There() bool { return false }

// End does nothing.
func (*Socket) End(bool) {}

// Check tells whether a socket can be put at path: only "" is right.
func Check(path string) error {
	if path == "" {
		return nil
	}
	return errNone
}
