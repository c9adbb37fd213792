package listener

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// explain says what was tried, why it failed and what helps.
func explain(network, address string, err error) error {
	cure := ""
	var addrErr *net.AddrError
	var dnsErr *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		cure = "; another process, or a listener of this one that was opened by other means, holds the address: stop it, or open that listener here too"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		cure = "; no interface of this machine has the address: use one that it has, or none (\":8080\") for all"
	case errors.Is(err, fs.ErrPermission):
		cure = "; this user may not: use a port from 1024 on, grant CAP_NET_BIND_SERVICE, or a folder that it may write"
	case errors.Is(err, fs.ErrNotExist):
		cure = "; create the folder first"
	case errors.As(err, &addrErr), errors.As(err, &dnsErr):
		cure = "; want host:port, for instance \":8080\" or \"127.0.0.1:8080\""
	}
	return fmt.Errorf("listener: listen %s %q: %w%s", network, address, err, cure)
}

// removeStale removes the file of a unix socket that its process left behind, which is known by nobody answering on it.
func removeStale(network, path string, err error) bool {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return false
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	c, err := net.Dial(network, path)
	if err == nil {
		_ = c.Close()
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) && os.Remove(path) == nil
}
