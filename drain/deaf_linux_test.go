package drain_test

import (
	"context"
	"errors"
	"os/exec"
	"testing"

	"github.com/baton-go/baton/drain"
)

// execPID makes systemd the one that has started the process, by what it says of that. Only the shell knows the pid
// beforehand.
func execPID(of string) func(*service, *exec.Cmd) {
	return func(s *service, cmd *exec.Cmd) {
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", "export SYSTEMD_EXEC_PID=" + of + `; exec "$0"`, s.binary}
	}
}

// A unit of Type=simple ends with the process that systemd has started. A swap is refused there, and
// the service goes on.
func TestSwapIsRefusedWhereSystemdHearsOfNoOther(t *testing.T) {
	s := begin(t, plan{}, withControl, execPID("$$"))
	s.event(1, "ready")
	s.tell(s.pgid, hup)
	s.noteSince(0, s.pgid, "swap refused: systemd follows this process")
	client := drain.Client{Socket: s.plan.Control}
	if err := client.Swap(context.Background()); !errors.Is(err, drain.ErrNotSupported) ||
		!errors.As(err, new(*drain.RefusedError)) {
		t.Errorf("swap: %v", err)
	}
	if pid := s.main().PID; pid != s.pgid {
		t.Errorf("process %d serves; want %d", pid, s.pgid)
	}
	s.wantNone(0, "swap begun")
	if !s.logged("swaps are refused") || !s.logged("Type=notify") {
		t.Error("nothing says so before the first try")
	}
	s.stop()
}

// A container ends with PID 1, so it is refused there, too.
func TestSwapIsRefusedInPID1WithoutAKeeper(t *testing.T) {
	s := start(t, plan{}, asPID1, func(s *service, _ *exec.Cmd) { s.plan.Keeper = false; s.replan() })
	s.signal(s.keeper(), hup)
	s.noteSince(0, 0, "swap refused: the container would end")
	s.wantNone(0, "swap begun")
	s.signal(s.keeper(), term)
	s.wantKeeperExit(0)
}

// Elsewhere it is not.
func TestSwapWhereSystemdHears(t *testing.T) {
	each(t, map[string]func(*service, *exec.Cmd){
		"of the next one": func(s *service, cmd *exec.Cmd) {
			newNotifySocket(s).manages(s, cmd)
			execPID("$$")(s, cmd)
		},
		"of the keeper alone": func(s *service, cmd *exec.Cmd) {
			withKeeper(s, cmd)
			execPID("$$")(s, cmd)
		},
		"of another process": execPID("1"),
	}, func(t *testing.T, how func(*service, *exec.Cmd)) {
		s := begin(t, plan{}, how)
		s.signal(s.event(1, "ready").PID, hup)
		s.event(2, "promoted")
		s.event(1, "stopped")
		s.stop()
	})
}
