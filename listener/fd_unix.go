//go:build unix

package listener

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// identify tells one open socket from all others. It returns "" for what is no socket.
func identify(fd int) string {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return ""
	}
	return fmt.Sprint(st.Dev, st.Ino)
}

// duplicate returns a copy of a descriptor, or nil.
func duplicate(fd int, name string) *os.File {
	nfd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(nfd), name)
}
