//go:build unix

package process

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Origin is how this process was started, before the program could change any of it. The next generation is started so.
type Origin struct {
	Args   []string // with argv[0]
	Env    []string
	Binary string // absolute path, links left in it; "" if none leads to what the kernel has started
	Dir    string // the name of the working folder, links left in it; "" if it is gone
	Stdio  [3]int // copies of the standard files, close-on-exec
}

// Self is this process's.
var Self = takeOrigin()

func takeOrigin() *Origin {
	o := &Origin{Args: execArgs(), Env: execEnv()}
	physical, _ := unix.Getwd() // not the one of os, which trusts PWD
	o.Dir = physical
	if pwd := lookup(o.Env, "PWD"); o.namesDir(pwd) {
		o.Dir = pwd
	}
	o.Binary = o.findBinary()
	if o.Dir == physical { // no link is named there, but the binary may have come by one
		for dir := filepath.Dir(o.Binary); filepath.IsAbs(dir) && len(dir) > 1; dir = filepath.Dir(dir) {
			if o.namesDir(dir) {
				o.Dir = dir
				break
			}
		}
	}
	for fd := range o.Stdio {
		o.Stdio[fd] = keep(fd)
	}
	return o
}

// namesDir tells whether a path is absolute and leads to the working folder.
func (o *Origin) namesDir(path string) bool {
	return filepath.IsAbs(path) && same(path, ".")
}

// NameDir gives the working folder another name, if it is one: the generation before may know it by a link.
func (o *Origin) NameDir(path string) {
	if path == o.Dir {
		return
	}
	if dir, err := os.Stat(o.Dir); err == nil && filepath.IsAbs(path) {
		if info, err := os.Stat(path); err == nil && os.SameFile(dir, info) {
			o.Dir = path
		}
	}
}

// AtStart is a path in the folder in which this process was started, by that folder's name: it may work elsewhere now.
func AtStart(path string) string {
	if path == "" || filepath.IsAbs(path) || Self.Dir == "" {
		return path
	}
	return filepath.Join(Self.Dir, path)
}

func same(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// keep copies a descriptor to a low number that is not in the way: exec needs numbers above all that it
// is to pass.
func keep(fd int) int {
	const above = 10
	kept, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, above)
	if err != nil {
		return fd
	}
	return kept
}

// lookup returns the value of a variable.
func lookup(env []string, name string) string {
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// Without returns env without some variables.
func Without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(names, name)
	})
}

// ChildEnv is the environment of the next generation: this one's, without what is meant for this process alone. The
// watchdog is every generation's if it is this one's, or the keeper's that has started this one.
func (o *Origin) ChildEnv() []string {
	drop := []string{sentinel, KeeperEnv, "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES",
		"WATCHDOG_PID"}
	keeper, _, _ := strings.Cut(lookup(o.Env, KeeperEnv), " ")
	if pid := lookup(o.Env, "WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) && pid != keeper {
		drop = append(drop, "WATCHDOG_USEC")
	}
	return Without(o.Env, drop...)
}

// KeeperEnv tells generation 1 that its parent is a keeper: the keeper's pid and the number of the far end.
const KeeperEnv = "BATON_KEEPER"

// KeepEnv makes the process whose pid it has the keeper.
const KeepEnv = "BATON_KEEP"

// Getenv returns a variable as it was when this process was started, or "".
func Getenv(name string) string { return lookup(Self.Env, name) }
