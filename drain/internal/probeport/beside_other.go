//go:build !unix

package probeport

import "net"

func listenBeside(address string, _ bool) (net.Listener, error) { return net.Listen("tcp", address) }
