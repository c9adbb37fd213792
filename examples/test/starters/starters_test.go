//go:build linux

// Package starters runs the example service under what starts services in the field: real supervisors, an init in a
// container, shells. Each row of the table is driven by the starter's own means while clients ask that never retry.
package starters

import (
	"os/exec"
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
	for _, x := range slices.Concat(supervisors, containers, shells) {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			program, args, _ := strings.Cut(x.version, " ")
			out, _ := exec.Command(flow.Tool(t, program, "apt-get install "+x.needs), strings.Fields(args)...).CombinedOutput()
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
			t.Logf("| %s | %s | 3 swaps | %d requests | %d lost |", x.name, line[strings.LastIndexAny(line, " \t")+1:], load.Requests(),
				load.Failed()+load.Reconnects())

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
