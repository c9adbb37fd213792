package drain_test

import (
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

func TestManagerThatDoesNotUnderstandIsNotWaitedForForLong(t *testing.T) {
	t.Parallel()
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages)
	n.turnDeaf()
	l := s.drive(4, time.Millisecond)
	s.swap()
	l.end()
	s.stop()
	n.await(0, stopping)
}

// Its socket's queue is full, and whoever writes there waits for ever.
func TestManagerThatDoesNotReadHoldsUpNobody(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/n", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := start(t, plan{}, func(_ *service, cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+dir+"/n", "WATCHDOG_USEC=2000")
	})
	l := s.drive(4, time.Millisecond)
	for range 20 {
		mark := s.mark()
		s.do("pull")
		s.do("restore")
		s.eventSince(mark, 1, "restored")
	}
	s.swap()
	l.end()
	s.stop()
}

func TestManagerThatIsGoneHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, func(s *service, cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+s.dir+"/nothing", "WATCHDOG_USEC=1000000")
	})
	l := s.drive(4, time.Millisecond)
	s.swap()
	s.swap()
	l.end()
	s.stop()
}

// Then only the new one can say who is to be followed.
func TestManagerHearsOfTheNewWhenTheOldWasKilled(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"in Ready", "barrier"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			n := newNotifySocket(t)
			s := start(t, plan{}, n.manages)
			open := func() {}
			if at == "barrier" {
				n.turnDeaf()
				s.signal(s.pgid, syscall.SIGHUP)
			} else {
				open = s.beginSwap(at)
			}
			n.await(0, map[string]string{"in Ready": reloading, "barrier": "BARRIER=1"}[at])
			mark := n.mark()
			s.signal(s.pgid, syscall.SIGKILL)
			s.wantExit(s.pgid, -9)
			if at == "in Ready" { // until then the old one says each second how it goes
				nc, err := net.Dial("unixgram", n.path)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = nc.Write([]byte("X_DEAD=1"))
				_ = nc.Close()
				_, mark = n.await(mark, "X_DEAD=1")
				mark++
			}
			open()
			child := s.event(2, "promoted")
			n.next(mark, child.PID, fmt.Sprintf(`MAINPID=%d\nREADY=1\nSTATUS=generation 2 ready, .*`, child.PID))
			n.answer()
			s.wantServed(child.PID)
		})
	}
}

// The old one has said already who is main, and takes that back: it is, and serves on. (With
// NotifyAccess=main that is not heard.) Nobody waits for a manager.
func TestNewKilledBeforeTheManagerUnderstood(t *testing.T) {
	t.Parallel()
	n := newNotifySocket(t)
	s := start(t, plan{IdleGrace: time.Millisecond}, n.manages)
	c, open := s.slow("one")
	n.turnDeaf()
	s.signal(s.pgid, syscall.SIGHUP)
	_, at := n.await(0, "BARRIER=1")
	s.signal(s.noteSince(0, s.proven().PID, "begun").PID, syscall.SIGKILL)
	if r := s.event(1, "swap failed"); r.Phase != drain.Ready {
		t.Error(r)
	}
	n.answer()
	n.next(at+1, s.pgid, fmt.Sprintf(`MAINPID=%d\nREADY=1`, s.pgid))
	n.next(at+2, s.pgid, `STATUS=reload failed: .*signal: killed.*generation 1 ready, .*`)
	s.finishSlow(c, open)
	s.wantServed(s.pgid)
}

func (s *service) proven() record { s.Helper(); return s.event(2, "proven") }
