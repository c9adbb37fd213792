//go:build linux

package starters

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

// site is a folder with the deployed service, an address, and what the starter has there.
type site struct {
	*flow.Node
	t *testing.T
}

func newSite(t *testing.T) *site {
	t.Helper()
	return &site{flow.NewNode(t, flow.Host()+":8131", build(t, 1)), t}
}

// build returns one of two versions.
func build(t *testing.T, n int) string {
	t.Helper()
	return flow.Build(t, "nethttp", fmt.Sprint("v", n%2), "")
}

// command is that of the service.
func (s *site) command() string {
	return fmt.Sprintf("%s -addr %s -control %s -probation 50ms -keeper auto", s.Path("app"), s.Addr, s.Path("control"))
}

// control is the command for the service that runs.
func (s *site) control(verb string) string {
	return fmt.Sprintf("%s -control %s -s %s", s.Path("app"), s.Path("control"), verb)
}

// write writes a file of the starter's; a script is executable.
func (s *site) write(name, text string) string {
	s.t.Helper()
	path := flow.WriteFile(s.t, s.Dir, name, text)
	if strings.HasPrefix(text, "#!") {
		_ = os.Chmod(path, 0o755)
	}
	return path
}

// words are those of a file, or "".
func (s *site) words(name string) string {
	text, _ := os.ReadFile(s.Path(name))
	return strings.Join(strings.Fields(string(text)), " ")
}

// do runs a command that must succeed. Any goroutine may call it.
func (s *site) do(command ...string) string {
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		s.t.Errorf("%s: %v, %s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// status is what the service says, or nothing while it does not answer.
func (s *site) status() (st drain.Status) {
	said, err := drain.Control(context.Background(), s.Path("control"), "status")
	if err == nil {
		_ = json.Unmarshal(said, &st)
	}
	return st
}

// serves waits until the service consists of that generation.
func (s *site) serves(generation int) {
	s.t.Helper()
	flow.Eventually(s.t, fmt.Sprint("generation ", generation, " serves alone"), func() bool {
		st := s.status()
		return st.Generation == generation && st.Phase == drain.Ready && len(st.Older) == 0
	})
}

func (s *site) processes() []int { return flow.Running(s.Dir + "/") }

// main is the pid of the serving generation, as it is outside of its container.
func (s *site) main() int {
	s.t.Helper()
	inside := strconv.Itoa(s.status().PID)
	i := slices.IndexFunc(s.processes(), func(pid int) bool { return ofProcess(pid, "NSpid") == inside })
	if i < 0 {
		s.t.Fatalf("pid %s is none of %v", inside, s.processes())
	}
	return s.processes()[i]
}

// ofProcess is the last word of a line in the status of a process.
func ofProcess(pid int, line string) string {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return find("(?m)^"+line+`:.*?(\S+)$`, string(status))
}

func (s *site) signal(pid int, sig syscall.Signal) {
	if pid <= 1 { // which would be a group of processes
		s.t.Errorf("signal %d to %d", sig, pid)
	} else if err := syscall.Kill(pid, sig); err != nil {
		s.t.Errorf("signal %d to %d: %v", sig, pid, err)
	}
}

// crash kills the serving generation.
func (s *site) crash() { s.t.Helper(); s.signal(s.main(), syscall.SIGKILL) }

// differs waits until the starter says that the service runs, and something else than before.
func (s *site) differs(before string, state func() string) (now string) {
	s.t.Helper()
	flow.Eventually(s.t, "the starter says that the service runs", func() bool {
		now = state()
		return now != "" && now != before
	})
	return now
}

func (s *site) wantSame(before string, state func() string) {
	s.t.Helper()
	if now := state(); now == "" || now != before {
		s.t.Errorf("the starter says %q; want %q as before", now, before)
	}
}

// stopsDrained stops the service while a request is under way, which it must answer.
func (s *site) stopsDrained(stop func()) {
	s.t.Helper()
	c := draintest.Client{Addr: s.Addr, Timeout: flow.Patience}
	defer c.Close()
	if err := c.Connect(); err != nil {
		s.t.Fatal(err)
	}
	if err := c.Send([]byte("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nhe")); err != nil {
		s.t.Fatal(err)
	}
	flow.Eventually(s.t, "a request is under way", func() bool { return s.status().Open.Active == 1 })
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	flow.Eventually(s.t, "the service drains", func() bool { return s.status().Phase == drain.Draining })
	if err := c.Send([]byte("ld")); err != nil {
		s.t.Error(err)
	}
	if a, err := c.Receive(nil); err != nil || string(a.Body) != "held" {
		s.t.Errorf("the request under way: %v, %q", err, a.Body)
	}
	<-stopped
	flow.Eventually(s.t, "nothing is left", func() bool { return len(s.processes()) == 0 })
}
