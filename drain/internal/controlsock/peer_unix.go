//go:build unix && !linux && !darwin && !freebsd

package controlsock

import "errors"

// peerOf returns errors.ErrUnsupported: access depends on the mode of the socket's file alone.
func peerOf(int) (uid int, err error) { return -1, errors.ErrUnsupported }
