// Package sdnotify tells a service manager about the service, as sd_notify(3) says; takes the
// sockets that it passes, as sd_listen_fds(3) says; and keeps sockets in its file descriptor store.
package sdnotify

import (
	"cmp"
	"os"
	"strings"
	"syscall"
	"time"
)

// Wait is how long this package waits for a manager that does not read, or does not answer.
const Wait = 5 * time.Second

// How the name of a keeper's socket begins, in the abstract namespace: nothing is left of it after
// a SIGKILL, and the file system may be read-only. A keeper that is alone has no service manager
// above it: it heeds MAINPID and BARRIER, and nothing is stored.
const (
	AloneSocket = "@baton-keeper-alone/"
	RelaySocket = "@baton-keeper/"
)

// KeeperSignals begins what a generation tells its keeper alone: the numbers of the signals that it wants to hear of by
// the socket that comes along. An older keeper passes that on, and a manager ignores it.
const KeeperSignals = "X_BATON_SIGNALS="

// Kept tells whether a keeper has started this process, or a generation behind one.
func Kept() bool {
	return strings.HasPrefix(passed.socket, AloneSocket) || strings.HasPrefix(passed.socket, RelaySocket)
}

// TellKeeper sends the keeper a datagram with a descriptor.
func TellKeeper(text string, file syscall.Conn) error { return send(passed.socket, text, file) }

// A keeper's NOTIFY_SOCKET is taken out of the environment before the program can start processes: unlike a service
// manager's it is meant for generations alone.
func init() {
	if Kept() {
		_ = os.Unsetenv("NOTIFY_SOCKET")
	}
}

// Socket is where the service manager listens, or the keeper; "" if neither does. A program that was started without
// may have set the variable since.
func Socket() string { return cmp.Or(passed.socket, os.Getenv("NOTIFY_SOCKET")) }
