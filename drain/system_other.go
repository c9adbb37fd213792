//go:build !unix

package drain

import (
	"errors"
	"log/slog"
	"os"

	"github.com/baton-go/baton/drain/internal/controlsock"
	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/tlsconf"
	"github.com/baton-go/baton/listener"
)

// system is a platform where a process can't hand its sockets over.
type system struct {
	processes
	pid      int
	binary   string
	fds      listener.Fds // nil
	inherits bool
	pulled   bool
	ports    []string
	held     map[string]string
	sockets  []listener.Inherited
	tickets  []tlsconf.TicketKey
	holders  []holder
}

func inherits() bool { return false }

func newSystem() (system, error) {
	return system{pid: os.Getpid(), binary: os.Args[0]}, nil
}

func (*system) predecessor() (*link.Link, message, error) { return nil, message{}, nil }
func (*system) startChild(*os.File, func() bool, func()) (child, error) {
	return nil, errors.ErrUnsupported
}
func (*system) takeLink() (*link.Link, error) { return nil, nil }

func (*system) dir() string      { return "" }
func (*system) flipReady() error { return nil }
func (*system) part() part       { return part{} }

func (*system) scorePart(*slog.Logger) part { return part{} }

func (*system) letGo(bool)        {}
func (*system) strange() []string { return nil }
func (*system) over()             {}

func (*system) keeper() (*os.File, error) { return nil, nil }

func (*system) openControl(path string, log *slog.Logger) (*controlsock.Socket, error) {
	return controlsock.Open(path, nil, false, log)
}
