//go:build unix

package pidfile

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// held is the file that names this process. It is locked as long as the process lives, so that a number that has become
// another program's is told from a service's. It is replaced with each file that is written.
var held struct {
	sync.Mutex
	file *os.File
}

// hold locks a file. Where the file system can't, no other process can either, see isHeld.
func hold(path string) {
	f, err := os.Open(path)
	if err == nil {
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	replace(f)
}

// LetGo ends that this process holds a file: another process has written it, or the service is over.
func LetGo() { replace(nil) }

func replace(f *os.File) {
	held.Lock()
	defer held.Unlock()
	if held.file != nil {
		_ = held.file.Close()
	}
	held.file = f
}

// isHeld tells whether a living process holds the file, or may: some file systems don't tell.
func isHeld(f *os.File) bool {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	for errors.Is(err, syscall.EINTR) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	}
	return err != nil
}
