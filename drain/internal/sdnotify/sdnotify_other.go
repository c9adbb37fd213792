//go:build !unix

package sdnotify

import (
	"errors"
	"os"
	"syscall"
)

func send(string, string, ...syscall.Conn) error { return errors.ErrUnsupported }

// PassedSockets returns nothing: this system has no such service manager.
func PassedSockets() ([]*os.File, int, error) { return nil, 0, nil }

// Store is a file descriptor store; this system has none.
type Store string

// TheStore returns false: this system has no such store.
func TheStore() (Store, bool) { return "", false }

// Put implements listener.Store.
func (Store) Put(string, syscall.Conn) error { return errors.ErrUnsupported }

// Remove implements listener.Store.
func (Store) Remove(string) error { return errors.ErrUnsupported }
