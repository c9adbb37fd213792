//go:build !unix

// Package link carries messages with descriptors between two generations of a service; not here, where a process can't
// pass descriptors on.
package link

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// ErrPaused is what Receive returns after Pause.
var ErrPaused = errors.New("link: paused")

// Link does nothing.
type Link struct{}

// Turn is nobody's.
type Turn struct{}

func (Turn) Send() error { return errors.ErrUnsupported }

func Pair() (*Link, *os.File, error)                { return nil, nil, errors.ErrUnsupported }
func Conn() (net.Conn, *os.File, error)             { return nil, nil, errors.ErrUnsupported }
func Open(*os.File) (*Link, error)                  { return nil, errors.ErrUnsupported }
func (*Link) Close() error                          { return nil }
func (*Link) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }
func (*Link) Send(any, ...syscall.Conn) error       { return errors.ErrUnsupported }
func (*Link) Post(any) error                        { return errors.ErrUnsupported }
func (*Link) Flush(time.Duration)                   {}
func (*Link) Receive(any) ([]*os.File, error)       { return nil, errors.ErrUnsupported }
func (*Link) ReceiveFDs(any) ([]int, error)         { return nil, errors.ErrUnsupported }
func Files([]int) []*os.File                        { return nil }
func (*Link) Hung() bool                            { return true }
func (*Link) Begin(any, ...syscall.Conn) (Turn, error) {
	return Turn{}, errors.ErrUnsupported
}
func (*Link) Insist(any) error { return errors.ErrUnsupported }
func (*Link) Lodge(any, ...syscall.Conn) (<-chan error, func() bool, error) {
	return nil, nil, errors.ErrUnsupported
}
func (*Link) Wait(any) error { return errors.ErrUnsupported }
func (*Link) Pause()         {}
func (*Link) Resume()        {}
func (*Link) Finish()        {}
func (*Link) Quiet() bool    { return true }
