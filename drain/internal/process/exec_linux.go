package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// execArgs and execEnv are what the kernel was given: other packages' init may have changed
// os.Args, or loaded a .env file.
func execArgs() []string {
	if text, err := os.ReadFile("/proc/self/cmdline"); err == nil && len(text) > 0 {
		return split(text)
	}
	return os.Args
}

func execEnv() []string {
	if text, err := os.ReadFile("/proc/self/environ"); err == nil {
		return split(text)
	}
	return os.Environ()
}

// split splits what is ended by NUL.
func split(text []byte) (all []string) {
	for part := range bytes.SplitAfterSeq(text, []byte{0}) {
		if s, ok := bytes.CutSuffix(part, []byte{0}); ok {
			all = append(all, string(s))
		}
	}
	return all
}

// findBinary returns the path that the kernel was told to execute. What is at the end of it need not be what runs: a
// script names an interpreter, and a descriptor may have been executed. Then it is the path of what runs.
func (o *Origin) findBinary() string {
	const runs = "/proc/self/exe"
	path := execPath()
	if path != "" && !filepath.IsAbs(path) {
		path = filepath.Join(o.Dir, path)
	}
	exe, err := os.Readlink(runs)
	switch {
	case err != nil: // no /proc
		return path
	case strings.HasPrefix(path, "/dev/fd/") || strings.HasPrefix(path, "/proc/"):
	case path != "" && same(path, runs):
		return path
	case isELF(path): // a new version that came between the start and now, by rename or by a link
		return path
	}
	if same(exe, runs) {
		return exe
	}
	return ""
}

// execPath is the path in execve(2), as getauxval(AT_EXECFN) has it.
func execPath() string {
	const execFN = 31
	vector, err := unix.Auxv()
	if err != nil {
		return ""
	}
	for _, entry := range vector {
		if entry[0] == execFN && entry[1] != 0 {
			// above the stack, where the kernel put it
			return unix.BytePtrToString(*(**byte)(unsafe.Pointer(&entry[1])))
		}
	}
	return ""
}

func isELF(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, _ = f.Read(magic)
	return string(magic) == "\x7fELF"
}
