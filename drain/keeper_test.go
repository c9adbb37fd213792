package drain

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// A keeper stays wherever somebody may wait for the process that was started.
func TestWhereAKeeperStays(t *testing.T) {
	for name, c := range map[string]struct {
		start
		want bool
	}{
		"a shell, supervisord, runit, s6, tini, a unit of Type=simple": {start{linux: true}, true},
		"a unit of Type=notify":                {start{linux: true, told: true}, false},
		"a container":                          {start{linux: true, first: true}, true},
		"a container whose manager is told":    {start{linux: true, first: true, told: true}, true},
		"a test":                               {start{linux: true, test: true}, false},
		"a test that is the first process":     {start{linux: true, test: true, first: true}, false},
		"a debugger":                           {start{linux: true, traced: true}, false},
		"a system where nobody adopts orphans": {start{first: true}, false},
	} {
		if got := c.waited(); got != c.want {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
	if KeeperAuto.wanted() || KeeperNever.wanted() || !KeeperAlways.wanted() {
		t.Error("a test is replaced by a keeper, unless it asks for that")
	}
}

// A signal that reaches the keeper and this process counts once; two that reach one of them count twice. The letters
// are signals: d one that comes directly, f one that the keeper forwards; s is a swap. The number is how many count.
func TestSignalsThatComeBothWays(t *testing.T) {
	for _, c := range []struct {
		come  string
		apart time.Duration
		want  int
	}{
		{"d", 0, 1}, {"f", 0, 1},
		{"df", 0, 1}, {"fd", 0, 1}, {"df", copied - 1, 1}, {"fd", copied - 1, 1},
		{"dd", time.Second, 2}, {"ff", time.Second, 2}, {"ddd", 0, 3}, {"fff", 0, 3},
		{"dfdf", 0, 2}, {"fdfd", 0, 2}, {"dffd", 0, 2}, {"fddf", 0, 2}, {"dfdfdf", 0, 3},
		{"df", copied, 2}, {"fd", copied, 2}, // another wish
		{"dsf", 0, 1}, {"fsd", 0, 1}, {"dssf", 0, 1}, {"dsfsf", 0, 2}, {"dfsf", 0, 2}, {"dsd", 0, 2}, {"fsf", 0, 2},
	} {
		copies, at, got := newCopies(), time.Now(), 0
		for _, way := range c.come {
			if way == 's' {
				var word message
				copies.release(&word)
				copies = newCopies()
				copies.inherit(word)
				continue
			}
			if raised := way == 'd' || copies.forwarded(os.Interrupt, at); raised && copies.came(os.Interrupt, at) {
				got++
			}
			if !copies.came(syscall.SIGTERM, at) {
				t.Errorf("%s: another signal does not count", c.come)
			}
			at = at.Add(c.apart)
		}
		if got != c.want {
			t.Errorf("%q, %v apart: %d count; want %d", c.come, c.apart, got, c.want)
		}
	}
}
