//go:build unix

// Package proc knows of other processes, by their numbers.
package proc

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"syscall"
)

// Alive tells whether a process exists. Where /proc tells, a zombie does not, and neither does the
// number of a thread: in a container the threads of PID 1 get the numbers that processes had before.
func Alive(pid int) bool {
	if pid <= 0 || pid > math.MaxInt32 { // the kernel would see the lower half alone
		return false
	}
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, rest, _ := strings.Cut(string(stat), ") ")
		const threads = 17 // num_threads of proc(5), from the state on: a zombie's others may still be at their exit
		if f := strings.Fields(rest); len(f) > threads && f[0] == "Z" && f[threads] == "1" {
			return false
		}
	}
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		if _, rest, ok := strings.Cut(string(status), "\nTgid:\t"); ok &&
			!strings.HasPrefix(rest, fmt.Sprintf("%d\n", pid)) {
			return false
		}
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// Namespace names what the number of a process is valid in, where there is more than one; "": the system does not tell.
func Namespace() string {
	name, _ := os.Readlink("/proc/self/ns/pid")
	return name
}

// Command is " (name)" of a process, where it can be known.
func Command(pid int) string {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return " (" + strings.TrimSpace(string(comm)) + ")"
}

// Traced tells whether a debugger follows this process, where that can be known.
func Traced() bool {
	status, _ := os.ReadFile("/proc/self/status")
	_, tracer, ok := strings.Cut(string(status), "\nTracerPid:\t")
	return ok && !strings.HasPrefix(tracer, "0\n")
}
