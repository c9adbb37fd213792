//go:build linux

package starters

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/examples/internal/flow"
)

// terminal is a pseudo terminal, from its user's side, and an interactive shell in it. What is on the screen goes to
// the site's log. The shell's prompt is the exit code of the last command: <0>.
type terminal struct {
	*os.File
	s     *site
	shell *exec.Cmd
}

func (s *site) openTerminal() *terminal {
	s.t.Helper()
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	must(err)
	term := &terminal{os.NewFile(uintptr(fd), "terminal"), s, nil}
	s.t.Cleanup(func() { _ = term.Close() })
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must(err)
	must(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	tty, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(err)
	log, err := os.OpenFile(s.Path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(err)
	go func() {
		defer log.Close()
		_, _ = io.Copy(log, term)
	}()
	bash := exec.Command("bash", "--norc", "--noprofile", "--noediting", "-i")
	bash.Env, bash.Dir = append(os.Environ(), "PS1=<$?>", "HISTFILE="), s.Dir
	bash.Stdin, bash.Stdout, bash.Stderr = tty, tty, tty
	bash.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(bash.Start())
	_ = tty.Close()
	term.shell = bash
	s.t.Cleanup(func() {
		_ = bash.Process.Kill()
		_ = bash.Wait()
	})
	flow.Eventually(s.t, "the shell's prompt", func() bool { return len(term.prompts()) == 1 })
	return term
}

// enter types; what the shell runs may go on.
func (term *terminal) enter(keys string) {
	if _, err := term.WriteString(keys); err != nil {
		term.s.t.Error(err)
	}
}

// ask lets the shell run a command to its end, and returns what is on the screen since.
func (term *terminal) ask(command string) string {
	n, before := len(term.prompts()), len(term.s.words("log"))
	term.enter(command + "\n")
	flow.Eventually(term.s.t, "the prompt after "+command, func() bool { return len(term.prompts()) > n })
	return term.s.words("log")[before:]
}

// prompts are the exit codes that the shell has seen.
func (term *terminal) prompts() []string { return strings.Fields(find(`<(\d+)>`, term.s.words("log"))) }

// job is the pid of what the shell has started, 0 when it has gone.
func (term *terminal) job() int { return flow.Child(term.shell.Process.Pid) }

// close closes the terminal, and returns when its shell is gone.
func (term *terminal) close() {
	_ = term.Close()
	_ = term.shell.Wait()
}

// TestTerminalCloses: what runs in a terminal stops with it, drained. What was started to outlive it lives on.
func TestTerminalCloses(t *testing.T) {
	for _, x := range []struct {
		name, command string // of the shell; %s is that of the service
		lives, deaf   bool   // deaf to HUP; other than that, a HUP swaps
	}{
		{"foreground", "%s", false, false},
		{"job", "%s &", false, false},
		{"nohup in the foreground", "nohup %s >>log 2>&1", true, true},
		{"nohup", "nohup %s >>log 2>&1 &", true, true},
		{"disown", "%s >>log 2>&1 & disown", true, false},
		{"setsid", "setsid %s >>log 2>&1", true, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			term := s.openTerminal()
			term.enter(fmt.Sprintf(x.command, s.command()) + "\n")
			s.serves(1)
			load := flow.NewLoad(t, s.Addr, 4, 2)
			s.do(strings.Fields(s.control("reload"))...)
			s.serves(2)
			for _, pid := range s.processes() {
				if deaf := deaf(pid); deaf != x.deaf {
					t.Errorf("process %d ignores HUP: %v; want %v", pid, deaf, x.deaf)
				}
			}
			if said := strings.Count(s.words("log"), "SIGHUP stays ignored"); (said == 1) != x.deaf {
				t.Errorf("that HUP is ignored is said %d times", said)
			}
			if !x.lives {
				load.Lossless()
				s.stopsDrained(term.close)
				return
			}
			term.close()
			load.Flows(100)
			if x.name == "setsid" { // the others had the terminal: a HUP in these seconds may come from there
				s.signal(s.main(), syscall.SIGHUP)
				s.serves(3)
			}
			load.Lossless()
			s.stopsDrained(func() { s.do(strings.Fields(s.control("stop"))...) })
		})
	}
}

// deaf tells whether a process ignores HUP.
func deaf(pid int) bool {
	mask, err := strconv.ParseUint(ofProcess(pid, "SigIgn"), 16, 64)
	return err == nil && mask&1 == 1
}

// TestSuspended: after Ctrl-Z clients wait, and after fg, or bg, they go on.
func TestSuspended(t *testing.T) {
	for _, resume := range []string{"fg", "bg"} {
		t.Run(resume, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			term := s.openTerminal()
			term.enter(s.command() + "\n")
			s.serves(1)
			s.do(strings.Fields(s.control("reload"))...)
			s.serves(2)
			load := flow.NewLoad(t, s.Addr, 4, 2)
			term.ask("\x1a")
			flow.Eventually(t, "all of the service is stopped", func() bool {
				return !slices.ContainsFunc(s.processes(), func(pid int) bool {
					return ofProcess(pid, "State") != "(stopped)"
				})
			})
			term.enter(resume + "\n")
			load.Flows(100)
			s.signal(s.main(), syscall.SIGHUP)
			s.serves(3)
			load.Lossless()
			s.stopsDrained(func() { s.do(strings.Fields(s.control("stop"))...) })
		})
	}
}
