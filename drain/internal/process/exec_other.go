//go:build unix && !linux

package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func execArgs() []string { return os.Args }
func execEnv() []string  { return os.Environ() }

// findBinary returns the path by argv[0] if that leads to what runs, so that links are left in it, or else the path of
// what runs.
func (o *Origin) findBinary() string {
	exe, err := os.Executable()
	path := ""
	if len(o.Args) > 0 {
		path = o.Args[0]
		if !strings.Contains(path, "/") {
			path, _ = exec.LookPath(path)
		}
	}
	if path != "" && !filepath.IsAbs(path) {
		path = filepath.Join(o.Dir, path)
	}
	if err != nil || path != "" && same(path, exe) {
		return path
	}
	return exe
}
