package process

import "golang.org/x/sys/unix"

func dupTo(from, to int) error { return unix.Dup3(from, to, unix.O_CLOEXEC) }
