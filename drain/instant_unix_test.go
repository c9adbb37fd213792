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
