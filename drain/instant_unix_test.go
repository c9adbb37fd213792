//go:build unix

package drain

import (
	"log/slog"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/drain/internal/process"
)

// A pull and a swap, or a restore, in the same instant may be delivered in any order: the pull holds. An
// older pull ends.
func TestPullInTheSameInstant(t *testing.T) {
	t.Parallel()
	const pull, restore, swap = syscall.SIGUSR2, syscall.SIGUSR1, syscall.SIGHUP
	const later = time.Second
	for _, c := range []struct {
		name    string
		signals []syscall.Signal
		after   []time.Duration // the one before
		holds   bool
	}{
		{"pull, swap", []syscall.Signal{pull, swap}, []time.Duration{0, 0}, true},
		{"swap, pull", []syscall.Signal{swap, pull}, []time.Duration{0, 0}, true},
		{"pull, later swap", []syscall.Signal{pull, swap}, []time.Duration{0, later}, false},
		{"swap, later pull", []syscall.Signal{swap, pull}, []time.Duration{0, later}, true},
		{"swap, pull, restore", []syscall.Signal{swap, pull, restore}, []time.Duration{0, 0, 0}, true},
		{"swap, restore, pull", []syscall.Signal{swap, restore, pull}, []time.Duration{0, 0, 0}, true},
		{"pull, restore, swap", []syscall.Signal{pull, restore, swap}, []time.Duration{0, 0, 0}, true},
		{"swap, pull, later restore", []syscall.Signal{swap, pull, restore}, []time.Duration{0, 0, later}, false},
		{"pull, later restore and swap", []syscall.Signal{pull, restore, swap}, []time.Duration{0, later, 0}, false},
		{"restore, later swap and pull", []syscall.Signal{restore, swap, pull}, []time.Duration{0, later, 0}, true},
	} {
		cfg, err := Config{Logger: slog.New(slog.DiscardHandler)}.complete()
		if err != nil {
			t.Fatal(err)
		}
		s, at := &Service{cfg: cfg, phase: Starting, os: system{fds: &process.Files{}}}, time.Now()
		for i, sig := range c.signals {
			at = at.Add(c.after[i])
			s.handle(arrival{sig, at})
		}
		if !s.later.swap || s.later.next().pull != c.holds {
			t.Errorf("%s: %+v", c.name, s.later)
		}
	}
}

// What the loop has no time for waits in order, and a storm takes no memory. That a stop came twice is not forgotten.
func TestSignalsThatWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const hup, pull, term = syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGTERM
		s := &Service{
			cfg: Config{Signals: &defaultSignals}, signals: make(chan os.Signal), arrivals: make(chan arrival),
			ended: make(chan struct{}),
		}
		defer close(s.ended)
		go s.takeSignals()
		for range 1000 {
			s.signals <- hup
		}
		for _, sig := range []os.Signal{pull, hup, hup, term, term} {
			s.signals <- sig // the second to stop is the same wish
		}
		for range 3 {
			time.Sleep(sameWish)
			s.signals <- term
		}
		for i, want := range []os.Signal{hup, pull, hup, term, term} {
			if got := <-s.arrivals; got.Signal != want {
				t.Errorf("%d: %v; want %v", i, got, want)
			}
		}
		synctest.Wait()
		select {
		case got := <-s.arrivals:
			t.Errorf("%v waits too", got)
		default:
		}
	})
}
