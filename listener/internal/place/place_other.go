//go:build !unix

package place

import (
	"errors"
	"net"
	"syscall"
)

func resolve(string, string) (Place, error) { return Place{}, errors.ErrUnsupported }

// OfSocket is Of: what a socket is bound to beyond its address is not known here.
func OfSocket(_ syscall.Conn, have net.Addr) Place { return Of(have, false) }
