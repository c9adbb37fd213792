//go:build unix

package control

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestScriptsAreClean: each of deploy's, those that are for one balancer too.
func TestScriptsAreClean(t *testing.T) {
	scripts, err := filepath.Glob("../../deploy/*.sh")
	if more, _ := filepath.Glob("../../deploy/*/*.sh"); err != nil || len(scripts) < 4 || len(more) < 4 {
		t.Fatalf("%v, %v, %v: want more scripts", scripts, more, err)
	} else {
		scripts = append(scripts, more...)
	}
	for _, check := range [][]string{
		{"dash", "-n"}, {"busybox", "sh", "-n"}, {"shellcheck"},
	} {
		t.Run(check[0], func(t *testing.T) {
			tool(t, check[0])
			for _, script := range scripts {
				out, err := exec.Command(check[0], append(check[1:len(check):len(check)], script)...).CombinedOutput()
				if err != nil {
					t.Errorf("%s: %v\n%s", script, err, out)
				}
			}
		})
	}
}

// TestNumbers: a setting that is a number by default, of whatever script, is one, or the script says so before it does
// anything. No name is listed here.
func TestNumbers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flow.WriteFile(t, dir, "a", "BIN="+dir+"/app\nCONTROL="+dir+"/control\nPIDFILE="+dir+"/pid\n")
	scripts, _ := filepath.Glob("../../deploy/*.sh")
	more, _ := filepath.Glob("../../deploy/*/*.sh")
	// What a script wants before its numbers, or would fail for.
	env := append(os.Environ(), "SITE="+dir, "NODE=a", "BIN="+dir+"/app", "NODES=a b", "METHOD=swap",
		"SITE_URL=http://127.0.0.1:1")
	args := map[string][]string{"node.sh": {"check", "a"}, "balancer.sh": {"settings"}}
	number, n := regexp.MustCompile(`(?m)^: "\$\{([A-Z_]+):=[0-9]+\}"`), 0
	for _, script := range append(scripts, more...) {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		by, env := script, env
		if filepath.Base(filepath.Dir(script)) == "balancer" { // no command by itself
			by = "../../deploy/balancer.sh"
			env = append(env[:len(env):len(env)], "BALANCER="+script)
		}
		for _, m := range number.FindAllStringSubmatch(string(text), -1) {
			n++
			for value, shell := range map[string][]string{
				"08":  {tool(t, "dash")},
				"1m":  {tool(t, "busybox"), "sh"},
				"7 5": {tool(t, "dash")},
			} {
				words := append(shell[1:len(shell):len(shell)], by)
				cmd := exec.Command(shell[0], append(words, args[filepath.Base(by)]...)...)
				cmd.Env = append(env[:len(env):len(env)], m[1]+"="+value)
				want := fmt.Sprintf("%s is %q: want ", m[1], value)
				if said, code := flow.Run(t, cmd); code != 6 || !strings.Contains(said, want) {
					t.Errorf("%s with %s=%q: exit code %d, %q; want 6, and %q", script, m[1], value, code, said, want)
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("%d settings are numbers, want at least 20: what declares them?", n)
	}
}

// TestEveryVerb goes once through a service's life, on each kind of system
// that the script provides for.
func TestEveryVerb(t *testing.T) {
	t.Parallel()
	for _, system := range []struct {
		name    string
		service string
		setUp   func(t *testing.T, s *site)
	}{
		{"dash", "gin", func(t *testing.T, s *site) { s.only(t, nil, commands...) }},
		{"setsid", "nethttp", func(t *testing.T, s *site) { s.only(t, nil, append(commands, "setsid")...) }},
		{"busybox", "nethttp", func(t *testing.T, s *site) {
			s.shell = []string{tool(t, "busybox"), "sh"}
			s.only(t, s.shell[:1], append(commands, "setsid")...)
		}},
		{"no-proc", "gin", func(t *testing.T, s *site) {
			tool(t, "ps")
			s.env = append(s.env, "PROC=/nonexistent")
		}},
	} {
		t.Run(system.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "-probation", "50ms")
			s.service = system.service
			system.setUp(t, s)
			s.deploy(build(t, s.service, "v1", ""))

			s.want(3, "not running", "status")
			s.want(0, "started", "start")
			first := s.pid()
			s.serves(first, "v1", 200)
			s.want(0, "generation 1, ready", "status")
			s.want(0, "running already", "start")
			s.serves(first, "v1", 200)

			s.deploy(build(t, s.service, "v2", ""))
			s.want(0, "generation 2, ready", "reload")
			second := s.pid()
			if second == first {
				t.Fatal("reload has ended with the old pid in the PID file")
			}
			s.serves(second, "v2", 200)

			s.want(0, "noticed", "pull")
			s.serves(second, "v2", 501)
			s.want(0, "pulled", "status")
			s.want(0, "noticed", "pull")
			s.want(0, "restored", "restore")
			s.serves(second, "v2", 200)

			s.want(0, "started", "restart")
			third := s.pid()
			s.serves(third, "v2", 200)
			if alive(second) {
				t.Fatal("restart has ended, and the old process lives")
			}
			s.want(0, "stopped", "stop")
			if alive(third) {
				t.Fatal("stop has ended, and the process lives")
			}
			s.want(0, "not running", "stop")
			s.want(3, "not running", "status")
			for _, verb := range []string{"reload", "pull", "restore"} {
				s.want(7, "not running", verb)
			}
			s.want(0, "started", "restart")
			s.want(0, "stopped", "stop")
		})
	}
}

// commands are what the script needs.
var commands = []string{"date", "readlink", "rm", "sed", "sleep", "tail", "tr", "wc"}

// only gives the script a PATH with these commands and no others; from holds
// the program that has them all as applets.
func (s *site) only(t *testing.T, from []string, commands ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range commands {
		target := name
		if from != nil {
			target = from[0]
		}
		if err := os.Symlink(tool(t, target), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.env = append(s.env, "PATH="+dir)
}

func TestWrongUsage(t *testing.T) {
	s := newSite(t)
	s.want(2, "start, stop", "destroy")
	s.want(2, "start, stop", "")
}
