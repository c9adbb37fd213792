//go:build unix

package drain

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// What the loop has no time for waits in order, and a storm takes no memory. That a stop came twice is not forgotten.
func TestSignalsThatWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const hup, pull, term = syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGTERM
		ended := make(chan struct{})
		s := newSignals(&defaultSignals, ended)
		s.in = make(chan os.Signal)
		defer close(ended)
		go s.take()
		for range 1000 {
			s.in <- hup
		}
		for _, sig := range []os.Signal{pull, hup, hup, term, term} {
			s.in <- sig // the second to stop is the same wish
		}
		for range 3 {
			time.Sleep(sameWish)
			s.in <- term
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

// The HUP of a closed terminal comes with it, or soon after, by way of the shell. A later one is the operator's.
func TestHangups(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sig    os.Signal
		closed time.Duration // how long ago
		want   bool
	}{
		{syscall.SIGHUP, aftermath / 2, true},
		{syscall.SIGHUP, 2 * aftermath, false},
		{syscall.SIGTERM, aftermath / 2, false},
	} {
		term := terminal{look: make(chan time.Time), closed: time.Now().Add(-c.closed)}
		if got := term.hangsUp(c.sig); got != c.want {
			t.Errorf("%v after the end of the terminal, %v tells of it: %v; want %v", c.closed, c.sig, got, c.want)
		}
		if (&terminal{}).hangsUp(c.sig) {
			t.Errorf("%v tells a service without a terminal of its end", c.sig)
		}
	}
}
