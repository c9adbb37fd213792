package drain_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// A thousand clients that say nothing, or half of it, keep nobody else from the control socket, and are gone
// after a while.
func TestControlBearsACrowd(t *testing.T) {
	s := start(t, plan{}, withControl)
	l := s.drive(2, 4*time.Millisecond)
	early := len(fds(s, s.pgid))
	var crowd []net.Conn
	for i := range 1000 {
		nc, err := net.Dial("unix", s.plan.Control)
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		defer nc.Close()
		crowd = append(crowd, nc)
		_, _ = io.WriteString(nc, []string{"", "P", "POST /swap HTTP/1.1\r\nHost: an"}[i%3])
	}
	s.mustControl("status")
	s.mustControl("swap")
	s.mustControl("status")
	for i, nc := range crowd {
		_ = nc.SetReadDeadline(time.Now().Add(hung))
		if text, err := io.ReadAll(nc); err != nil || len(text) > 0 && !strings.HasPrefix(string(text), "HTTP/1.1 4") {
			t.Fatalf("client %d: %q, %v", i, text, err)
		}
	}
	s.wantAlone(s.main().PID)
	s.eventually("no more descriptors than before", func() bool { return len(fds(s, s.main().PID)) <= early+4 })
	l.end()
	s.mustControl("stop")
	s.wantNothingLost()
}

// Of swaps that are asked for at once, one is tried, or one after the other; whoever asks hears what became
// of his. One whose client goes away goes on.
func TestControlSwapsAtOnce(t *testing.T) {
	s := start(t, plan{}, withControl)
	l := s.drive(2, 4*time.Millisecond)
	gen := 1
	for range *rounds {
		var all sync.WaitGroup
		var mu sync.Mutex
		done := 0
		for range 4 {
			all.Go(func() {
				_, err := s.control("swap")
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					done++
				case !strings.Contains(err.Error(), "under way") && !strings.Contains(err.Error(),
					"another generation has taken over"):
					t.Error(err)
				}
			})
		}
		all.Wait()
		gen += done
		if st := s.mustControl("status"); done == 0 || st.Generation != gen {
			t.Errorf("%d of 4 swaps at once have succeeded, and generation %d answers; want %d",
				done, st.Generation, gen)
		}
		nc := have(net.Dial("unix", s.plan.Control))(t)
		_, _ = io.WriteString(nc, "POST /swap HTTP/1.1\r\nHost: any\r\n\r\n")
		_ = nc.Close()
		gen++
		s.event(gen, "promoted")
		s.settled(drain.Ready)
	}
	l.end()
	s.mustControl("stop")
	s.wantNothingLost()
}
