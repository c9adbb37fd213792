//go:build !unix

package drain

import (
	"errors"
	"os"
	"time"

	"github.com/cloudflare/tableflip"

	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/listener"
)

type flipper interface {
	Ready() error
	Upgrade() error
	Stop()
	Exit() <-chan struct{}
}

// system is a platform where a process can't hand its sockets over.
type system struct {
	pid      int
	binary   string
	flip     flipper // nil
	fds      *tableflip.Fds
	inherits bool
	linked   bool
	pulled   bool
	ports    []string
	held     map[string]string
	sockets  []listener.Inherited
	tickets  []ticketKey
}

func inherits() bool { return false }

func newSystem(time.Duration) (system, error) {
	return system{pid: os.Getpid(), binary: os.Args[0]}, nil
}

func (*system) predecessor() (*elder, int, error)        { return nil, 1, nil }
func (*system) prepareChild(message) (*link.Link, error) { return nil, errors.ErrUnsupported }
