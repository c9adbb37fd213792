package listener

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/baton-go/baton/listener/internal/place"
)

// explain says what was tried, why it failed and what helps.
func explain(network, address string, err error) error {
	return fmt.Errorf("listener: listen %s %q: %w%s", network, address, bare(err), Cure(network, address, err))
}

// bare is an error of package net without the operation and the address, which the text before it has.
func bare(err error) error {
	var op *net.OpError
	var addr *net.AddrError
	switch {
	case !errors.As(err, &op):
		return err
	case errors.As(op.Err, &addr):
		return &net.AddrError{Err: addr.Err}
	}
	return op.Err
}

// Cure says what helps against an error of net.Listen or net.ListenPacket, to be put behind it: it
// begins with "; ", or is empty where nothing is known. Of an address that is in use it names the
// process that holds it, where the kernel tells: on Linux, of this user's processes or to root.
// That takes up to half a second.
func Cure(network, address string, err error) string {
	var addrErr *net.AddrError
	var dnsErr *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		if mode, there := noSocket(network, address); there {
			return fmt.Sprintf("; what is there is no socket (%v), and stays: use another path, or move it away", mode)
		}
		switch holder := place.Holder(network, address); {
		case strings.Contains(holder, place.Self):
			return "; the address is held by " + holder + ": use another one here, or open that listener by Listen " +
				"of the service, not by net.Listen, and the next generation inherits it"
		case holder != "":
			return "; the address is held by " + holder + ": stop it, use another address, or open that " +
				"listener by Listen, too"
		}
		return "; another process, or a listener of this one that was opened by other means, holds the " +
			"address: stop it, or open that listener here too"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "; no interface of this machine has the address: use one that it has, or none (\":8080\") for all"
	case errors.Is(err, fs.ErrPermission):
		return "; this user may not: use a port from 1024 on, grant CAP_NET_BIND_SERVICE, or a folder that it may write"
	case errors.Is(err, fs.ErrNotExist):
		return "; create the folder first"
	case errors.Is(err, syscall.EMFILE):
		return "; raise the limit of this process (LimitNOFILE=, ulimit -n)"
	case errors.Is(err, syscall.EINVAL) && place.IsUnix(network):
		return "; the path is too long for a socket: use a shorter one"
	case errors.As(err, &addrErr), errors.As(err, &dnsErr):
		return "; want host:port, for instance \":8080\" or \"127.0.0.1:8080\""
	}
	return ""
}

// noSocket tells of a file that is in the way of a unix socket. The kernel says of it, too, that the address is in use,
// though no socket has it.
func noSocket(network, path string) (fs.FileMode, bool) {
	if !place.IsUnix(network) || strings.HasPrefix(path, "@") {
		return 0, false
	}
	info, err := os.Lstat(path)
	if err != nil {
		return 0, false
	}
	return info.Mode(), info.Mode().Type() != fs.ModeSocket
}

// removeStale removes the file of a unix socket that its process left behind. Nobody answers on
// such a file.
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

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
