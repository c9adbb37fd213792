//go:build unix

package drain

import (
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/process"
)

// A pull and a swap in the same instant may be delivered in any order: the pull holds. One that is older ends.
func TestPullAndSwapInTheSameInstant(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		signals []syscall.Signal
		before  time.Duration // the swap
		holds   bool
	}{
		{"pull first", []syscall.Signal{syscall.SIGUSR2, syscall.SIGHUP}, 0, true},
		{"swap first", []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR2}, 0, true},
		{"pull before", []syscall.Signal{syscall.SIGUSR2, syscall.SIGHUP}, time.Second, false},
		{"restored", []syscall.Signal{syscall.SIGUSR2, syscall.SIGUSR1, syscall.SIGHUP}, 0, false},
	} {
		cfg, err := Config{Logger: slog.New(slog.DiscardHandler)}.complete()
		if err != nil {
			t.Fatal(err)
		}
		s := &Service{cfg: cfg, phase: Starting, os: system{fds: &process.Files{}}}
		for _, sig := range c.signals {
			if sig == syscall.SIGHUP {
				s.pullAt = s.pullAt.Add(-c.before)
			}
			s.handle(sig)
		}
		if !s.later.swap || s.later.next().pull != c.holds {
			t.Errorf("%s: %+v", c.name, s.later)
		}
	}
}
