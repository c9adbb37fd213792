//go:build unix

package sdnotify

import (
	"os"
	"strconv"
	"testing"
)

// What the variables say is looked at, and said where it can't be meant.
func TestWhatIsSaidOfPassedSockets(t *testing.T) {
	defer func(was passedBy) { passed = was }(passed)
	self := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		pid, fds string
		others   int
		fails    bool
	}{
		{"", "", 0, false},
		{self, "", 0, false},
		{self, "0", 0, false},
		{self, "-1", 0, true},
		{self, "3 ", 0, true},
		{self, "x", 0, true},
		{self, "99999999999999999999", 0, true},
		{self, "100000", 100000, false}, // none is one
		{"1", "3", 0, false},            // another's
		{"1", "x", 0, false},
		{"-1", "3", 0, false},
		{self + " ", "3", 0, false},
		{"x", "3", 0, false},
	} {
		passed = passedBy{listenPID: c.pid, fds: c.fds, names: "a:b:c:d::"}
		files, others, err := PassedSockets()
		if len(files) > 0 || others != c.others || (err != nil) != c.fails {
			t.Errorf("LISTEN_PID=%s LISTEN_FDS=%q: %v, %d, %v", c.pid, c.fds, files, others, err)
		}
		if files, others, err := PassedSockets(); files != nil || others != 0 || err != nil {
			t.Errorf("the second time %v, %d, %v", files, others, err)
		}
	}
}
