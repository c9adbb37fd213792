package drain_test

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"
)

var spoiled = []string{"clears its environment", "unsets what systemd said", "invents what systemd said"}

// What the service manager has said in the environment is taken when the program starts.
func TestAManagerHearsOfAProgramThatSpoilsItsEnvironment(t *testing.T) {
	t.Parallel()
	for _, fault := range spoiled {
		for _, keeper := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, keeper %v", fault, keeper), func(t *testing.T) {
				n := newNotifySocket(t)
				s := start(t, plan{Fault: fault, Keeper: keeper}, n.manages, func(_ *service, cmd *exec.Cmd) {
					cmd.Env = append(cmd.Env, "WATCHDOG_USEC=20000")
				})
				n.await(0, `READY=1\n(.*\n)*.*`)
				n.await(0, "WATCHDOG=1")
				at := n.mark()
				s.swap()
				if !keeper {
					n.await(at, `MAINPID=\d+\n(.*\n)*.*`)
				}
				n.await(n.mark(), "WATCHDOG=1")
				s.signal(s.pgid, syscall.SIGTERM)
				s.gone()
				s.wantExit(s.pgid, 0)
			})
		}
	}
}

// And so are the sockets that it has passed.
func TestPassedSocketsOfAProgramThatSpoilsItsEnvironment(t *testing.T) {
	t.Parallel()
	for _, fault := range spoiled {
		t.Run(fault, func(t *testing.T) {
			d := newNotifySocket(t)
			one := start(t, plan{Fault: fault}, d.manages)
			d.wantStored(stored(one.pgid, tcpName))
			one.signal(one.pgid, syscall.SIGKILL)
			one.gone()
			two := start(t, plan{Fault: fault}, d.manages)
			if was, is := one.address(), two.address(); was != is {
				t.Errorf("listens on %s; was on %s", is, was)
			}
			two.swap()
			two.stop()
		})
	}
}
