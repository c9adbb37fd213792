//go:build linux

package starters

import (
	"fmt"
	"strings"
	"syscall"
)

var shells = []starter{
	{"foreground of a terminal", "bash", "dpkg-query -W bash", func(s *site) running {
		term := s.openTerminal()
		run := func() { term.enter(s.command() + "\n") }
		run()
		return running{
			swap:  func() { s.signal(term.job(), syscall.SIGHUP) },
			stop:  func() { term.enter("\x03") }, // Ctrl-C
			state: func() string { return fmt.Sprint(term.job()) },
			codes: func() string { return strings.Join(term.prompts()[1:], " ") },
			again: run,
		}
	}},
	{"job of a shell", "bash", "dpkg-query -W bash", func(s *site) running {
		return s.job(s.command()+" &", "kill -HUP %1")
	}},
	{"nohup", "coreutils", "nohup --version", func(s *site) running {
		return s.job("nohup "+s.command()+" >>log 2>&1 &", s.control("reload")) // HUP stays ignored
	}},
	{"start-stop-daemon", "dpkg", "dpkg-query -W dpkg", func(s *site) running {
		do := func(args ...string) string {
			return s.do(append([]string{"start-stop-daemon", "--pidfile", s.Path("pid")}, args...)...)
		}
		run := func() {
			args := []string{"--start", "--background", "--output", s.Path("log"),
				"--make-pidfile", "--exec", s.Path("app"), "--"}
			do(append(args, strings.Fields(s.command())[1:]...)...)
		}
		run()
		return running{
			swap:  func() { do("--stop", "--signal", "HUP") },
			stop:  func() { do("--stop", "--retry", "TERM/60", "--remove-pidfile") },
			state: func() string { do("--status"); return s.words("pid") },
			again: run,
		}
	}},
}

// job runs a command in the background of an interactive shell, which is asked to swap it.
func (s *site) job(command, swap string) running {
	term := s.openTerminal()
	run := func() { term.ask(command) }
	run()
	return running{
		swap:  func() { term.ask(swap) },
		stop:  func() { term.ask("kill %1") },
		state: func() string { return find(`(\d+) Running`, term.ask("jobs -l")) },
		codes: func() string {
			term.ask("") // a prompt brings the news
			status := find(`\[1\]\+ +(Exit \d+|Done)`, s.words("log"))
			return strings.NewReplacer("Exit ", "", "Done", "0").Replace(status)
		},
		again: run,
	}
}
