package owned

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// newFile returns one in memory, without a name.
func newFile() (*os.File, error) {
	const name, flags = "baton-state", unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL) // vm.memfd_noexec=2 wants it
	if errors.Is(err, unix.EINVAL) {                              // Linux before 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// seal lets no process change it any more.
func seal(f *os.File) error {
	const all = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, all)
	return os.NewSyscallError("fcntl F_ADD_SEALS", err)
}
