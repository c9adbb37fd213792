//go:build unix && !linux && !darwin && !freebsd

package controlsock

import "errors"

// peerOf: the mode of the socket's file has to do here.
func peerOf(int) (uid int, err error) { return -1, errors.ErrUnsupported }
