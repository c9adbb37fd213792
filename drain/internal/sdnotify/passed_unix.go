//go:build unix

package sdnotify

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/process"
)

const (
	// listenFDsStart is SD_LISTEN_FDS_START.
	listenFDsStart = 3
	// maxListenFDs is how many passed descriptors are looked at; no service manager passes as many.
	maxListenFDs = 1 << 16
)

// PassedSockets returns the sockets that a service manager has passed, each with its FDNAME as the
// file's name, and how many other descriptors the variables promise. Others are left alone: the
// variables may be wrong, and the runtime has descriptors of its own, which are close-on-exec. An error
// says that LISTEN_FDS, meant for this process, is no number.
func PassedSockets() (files []*os.File, others int, err error) {
	fds := passed.fds
	passed.fds = "" // once
	if fds == "" || passed.listenPID != strconv.Itoa(os.Getpid()) {
		return nil, 0, nil
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n < 0 {
		return nil, 0, fmt.Errorf("LISTEN_FDS is %q: want how many descriptors are passed, from 3 on", fds)
	}
	names := strings.Split(passed.names, ":")
	for i := range min(n, maxListenFDs) {
		fd := listenFDsStart + i
		if !process.PassedSocket(fd) {
			continue
		}
		unix.CloseOnExec(fd)
		name := "LISTEN_FD_" + strconv.Itoa(fd)
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	return files, n - len(files), nil
}
