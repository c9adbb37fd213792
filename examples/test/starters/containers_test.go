//go:build linux

package starters

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/baton-go/baton/examples/internal/flow"
)

// Each is PID 1, as in a container, whose runtime is the test.
var containers = []starter{
	{"PID 1", "util-linux", "unshare --version", contained("%s")},
	{"tini", "tini", "tini --version", contained("tini -- %s")},
	{"tini -g", "tini", "tini --version", contained("tini -g -- %s")},
	{"dumb-init", "dumb-init", "dumb-init --version", contained("dumb-init %s")},
	{"shell, exec", "dash", "dpkg-query -W dash", contained("sh -c 'exec %s'")},
	{"shell, forwards", "dash", "dpkg-query -W dash", contained(`sh -c '
		trap "kill -HUP \$app" HUP
		trap "kill -TERM \$app" TERM
		%s & app=$!
		while wait $app; code=$?; [ $code -gt 128 ] && kill -0 $app 2>/dev/null; do :; done
		exit $code'`)},
	{"shell, waits", "dash", "dpkg-query -W dash", func(s *site) running {
		r := contained(`sh -c '%s; exit $?'`)(s)
		r.swap = func() { s.do(strings.Fields(s.control("reload"))...) } // this shell forwards nothing
		r.stop = func() {
			shell, _ := strconv.Atoi(r.state())
			s.signal(flow.Child(shell), syscall.SIGTERM)
		}
		return r
	}},
}

// contained runs the command in a container.
func contained(command string) func(s *site) running {
	return func(s *site) running {
		var p *flow.Process // the container
		codes := ""
		run := func() {
			p = s.apart(fmt.Sprintf(command+" >>%s 2>&1", s.command(), s.Path("log")))
		}
		first := func() int { return flow.Child(p.Process.Pid) }
		run()
		return running{
			swap:  func() { s.signal(first(), syscall.SIGHUP) },
			stop:  func() { s.signal(first(), syscall.SIGTERM); <-p.Ended() },
			state: func() string { return fmt.Sprint(first()) },
			codes: func() string {
				select {
				case <-p.Ended():
					return strings.TrimSpace(fmt.Sprint(codes, " ", p.ProcessState.ExitCode()))
				default:
					return codes
				}
			},
			again: func() { codes = fmt.Sprint(p.ProcessState.ExitCode()); run() },
		}
	}
}

// apart runs a command of the shell as PID 1 of a pid namespace, of which nothing is left after the test.
func (s *site) apart(command string) *flow.Process {
	s.t.Helper()
	return flow.Start(s.t, flow.Contain(s.t, "sh", "-c", "exec "+command))
}
