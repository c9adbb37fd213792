//go:build linux

// Package starters runs the example service under what starts services in the field: real supervisors, an init in a
// container, shells. Each row of the table is driven by the starter's own means while clients ask that never retry.
package starters

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

// starter is a row of the table in OPERATIONS.md.
type starter struct {
	name    string
	needs   string // Debian packages that have the programs
	version string // a command that prints it as the last word of its first line
	start   func(s *site) running
}

var starters = slices.Concat(supervisors, containers, shells)

// running is what a starter's users do, and what it tells them.
type running struct {
	swap  func()
	stop  func()        // returns when the starter says that the service has stopped
	state func() string // of the service, as the starter sees it: the same until the starter restarts something
	codes func() string // the exit codes that the starter has seen; nil: it sees none
	again func()        // starts a service that has crashed; nil: the starter does
}

// TestStarters: three swaps, a crash and a stop under each starter, by its own means.
func TestStarters(t *testing.T) {
	for _, x := range starters {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			program, args, _ := strings.Cut(x.version, " ")
			path := flow.Tool(t, program, "apt-get install "+x.needs)
			out, _ := exec.Command(path, strings.Fields(args)...).CombinedOutput()
			line, _, _ := strings.Cut(string(out), "\n")
			s := newSite(t)
			r := x.start(s)
			s.serves(1)
			before := s.differs("", r.state)
			load := flow.NewLoad(t, s.Addr, 4, 2)
			for n := 2; n <= 4; n++ {
				s.Deploy(build(t, n))
				r.swap()
				s.serves(n)
				load.Flows(30)
			}
			load.Lossless()
			s.wantSame(before, r.state)
			t.Logf("| %s | %s | 3 swaps | %d requests | %d lost |",
				x.name, line[strings.LastIndexAny(line, " \t")+1:],
				load.Requests(), load.Failed()+load.Reconnects())

			s.crash()
			if r.codes != nil {
				flow.Eventually(t, "the starter notices the crash", func() bool { return r.codes() == "137" })
			}
			if r.again != nil {
				flow.Eventually(t, "nothing is left", func() bool { return len(s.processes()) == 0 })
				r.again()
			}
			s.serves(1)
			s.differs(before, r.state)
			s.stopsDrained(r.stop)
			if r.codes != nil {
				flow.Eventually(t, "the starter has seen both exit codes", func() bool { return r.codes() == "137 0" })
			}
		})
	}
}

// TestOperationsPage: each row of its table names its tests, and each starter here is in one.
func TestOperationsPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(flow.Examples(), "../OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	sources, _ := filepath.Glob("../systemd/*_test.go")
	missing := map[string]bool{}
	for _, x := range starters {
		missing[x.name] = true
	}
	for _, path := range sources {
		source, _ := os.ReadFile(path)
		for test := range strings.FieldsSeq(find(`func (Test\w+)`, string(source))) {
			missing["systemd."+test] = false
		}
	}
	_, section, _ := strings.Cut(string(page), "\n## What starts the service\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range strings.Split(section, "\n| ")[3:] {
		row, _, _ = strings.Cut(row, "\n")
		names := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[strings.LastIndex(row, " | "):], -1)
		for _, name := range names {
			if _, is := missing[name[1]]; !is {
				t.Errorf("OPERATIONS.md: no test %q", name[1])
			}
			missing[name[1]] = false
		}
		if len(names) == 0 {
			t.Errorf("OPERATIONS.md names no test: %s", row)
		}
	}
	for name := range missing {
		if missing[name] {
			t.Errorf("OPERATIONS.md lacks %s", name)
		}
	}
}
