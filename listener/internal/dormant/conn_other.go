//go:build !linux

// Package dormant keeps connections at rest for next to nothing; on Linux only.
package dormant

import (
	"errors"
	"net"
	"syscall"
)

// Conn is none.
type Conn struct {
	net.Conn
}

// ErrBusy is never returned.
var ErrBusy = errors.New("dormant: busy")

// New returns nil.
func New(int) *Conn { return nil }

func (*Conn) Wake() (net.Conn, error) { return nil, errors.ErrUnsupported }

// Poller does nothing.
type Poller struct{}

func NewPoller() (*Poller, error)              { return nil, errors.ErrUnsupported }
func (*Poller) Add(syscall.Conn, int32) error  { return errors.ErrUnsupported }
func (*Poller) Wait() (ids []int32, err error) { return nil, errors.ErrUnsupported }
func (*Poller) Close()                         {}
