//go:build unix

package flow

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Running are the processes whose executable's path begins with prefix,
// whichever generation they are and whatever has become of the file. A zombie
// has no executable. Nobody is found where there is no /proc.
func Running(prefix string) (pids []int) {
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range exes {
		if target, err := os.Readlink(exe); err == nil && strings.HasPrefix(target, prefix) {
			pid, _ := strconv.Atoi(strings.Split(exe, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}
