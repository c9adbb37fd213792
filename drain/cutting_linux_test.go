package drain

import (
	"syscall"
	"testing"

	"github.com/baton-go/baton/drain/internal/machine"
)

// A connection that can't be closed for a while, since a call of the program's uses its descriptor, holds up no
// question and no signal.
func TestWhatIsCutOffHoldsNothingUp(t *testing.T) {
	t.Parallel()
	s, ln := alone(t, machine.Draining)
	nc := accepted(t, ln)
	rc, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = rc.Control(func(uintptr) {
		s.run.post(machine.DeadlineOver{})
		if st := s.Status(); st.Phase != Draining || st.Open.Open() != 1 {
			t.Errorf("%+v; want an answer meanwhile", st)
		}
	})
	<-s.run.ended
}
