package drain_test

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// A service manager that hears nothing, or what is in its place, delays a start and a swap a little. It
// prevents nothing.
func TestManagerThatHearsNothingHoldsUpNobody(t *testing.T) {
	type row struct {
		socket  func(testing.TB) string
		noticed bool
	}
	each(t, map[string]row{
		"is gone":       {socketPath, true},
		"is none":       {func(testing.TB) string { return "vsock:2:1234" }, false},
		"does not read": {fullSocket, true},
		"does not understand": {func(t testing.TB) string {
			n := newNotifySocket(t)
			n.turnDeaf()
			return n.path
		}, false},
	}, func(t *testing.T, c row) {
		s := start(t, plan{Extra: "localhost:0"}, func(_ *service, cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+c.socket(t), "WATCHDOG_USEC=20000")
		})
		l := s.drive(4, time.Millisecond)
		for range 3 {
			s.pull()
			s.restore()
		}
		s.swap()
		s.swap()
		l.end()
		s.stop()
		s.wantExit(s.pgid, 0)
		if c.noticed {
			s.wantIn(s.event(1, "the service manager's store").Err, "NOTIFY_SOCKET")
		}
	})
}

// fullSocket is one whose queue is full: what writes there waits for ever.
func fullSocket(t testing.TB) string {
	t.Helper()
	at := &net.UnixAddr{Name: socketPath(t), Net: "unixgram"}
	conn := have(net.ListenUnixgram("unixgram", at))(t)
	t.Cleanup(func() { _ = conn.Close() })
	full := have(net.DialUnix("unixgram", nil, at))(t)
	defer full.Close()
	var err error
	// This sets no deadline, which may be over before the queue is full.
	_ = have(full.SyscallConn())(t).Control(func(fd uintptr) {
		for err == nil {
			_, err = syscall.Write(int(fd), []byte("STATUS=full"))
		}
	})
	if !errors.Is(err, syscall.EAGAIN) {
		t.Fatal(err)
	}
	return at.Name
}

// Then only the new one can say who is to be followed.
func TestManagerHearsOfTheNewWhenTheOldWasKilled(t *testing.T) {
	eachOf(t, func(t *testing.T, at string) {
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
		s.kill(s.pgid)
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
	}, "in Ready", "barrier")
}

// The old one has said already who is main, and takes that back: it is, and serves on. (With
// NotifyAccess=main that is not heard.) Nobody waits for a manager.
func TestNewKilledBeforeTheManagerUnderstood(t *testing.T) {
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
