//go:build unix

package drain_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

func TestControlStop(t *testing.T) {
	t.Parallel()
	t.Run("finishes what is in flight", func(t *testing.T) {
		s := start(t, plan{}, withControl)
		c, open := s.slow("slow")
		first, second := s.controlLater("stop"), s.controlLater("stop")
		s.event(1, "draining")
		third := s.controlLater("stop")
		st := s.mustControl("status")
		if st.Phase != drain.Draining {
			t.Errorf("%+v", st)
		}
		for _, command := range []string{"swap", "restore"} {
			_, err := s.control(command)
			s.wantWords(err, "the service is ")
		}
		s.finishSlow(c, open)
		for _, answer := range []<-chan error{first, second, third} {
			s.wantAnswer(answer)
		}
		s.wantNobody()
		s.wantEnd(0, "")
	})
	t.Run("says what it cut off", func(t *testing.T) {
		s := start(t, plan{DrainTimeout: 100 * time.Millisecond}, withControl)
		s.slow("slow")
		_, err := s.control("stop")
		s.wantWords(err, "DrainTimeout (100ms) is over: cut off 1 active connection(s)")
		s.wantNobody()
		s.wantEnd(1, "DrainTimeout")
		s.wantNoControl()
	})
	t.Run("and a signal leave now", func(t *testing.T) {
		s := start(t, plan{}, withControl)
		s.slow("slow")
		answer := s.controlLater("stop")
		s.event(1, "stopping")
		s.signal(s.pgid, syscall.SIGTERM)
		s.wantAnswer(answer, "asked twice")
		s.wantEnd(1, "asked twice")
	})
	t.Run("by a signal is waited for", func(t *testing.T) {
		s := start(t, plan{}, withControl)
		c, open := s.slow("slow")
		s.tell(s.pgid, syscall.SIGTERM)
		answer := s.controlLater("stop")
		s.event(1, "draining")
		s.finishSlow(c, open)
		s.wantAnswer(answer)
		s.wantEnd(0, "")
	})
	t.Run("in a swap", func(t *testing.T) {
		s := start(t, plan{}, withControl)
		swap := s.controlLater("swap")
		s.event(1, "swap begun")
		s.mustControl("stop")
		<-swap // which of them was first is not certain
		s.wantNobody()
		s.wantNoControl()
	})
}
