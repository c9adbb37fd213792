//go:build !unix

package listener

import (
	"errors"
	"net"
	"os"
	"syscall"
)

func resolve(string, string) (place, error)             { return place{}, errors.ErrUnsupported }
func placeOfSocket(_ syscall.Conn, have net.Addr) place { return placeOf(have, false) }
func identify(int) string                               { return "" }
func duplicate(int, string) *os.File                    { return nil }
