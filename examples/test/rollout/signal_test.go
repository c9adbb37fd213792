//go:build linux

package rollout

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestSignalsInSteps: a terminal that hangs up tells the whole group, and no step ends by that. Ctrl-C ends it, and is
// told from a node that fails.
func TestSignalsInSteps(t *testing.T) {
	s := newSite(t, "a b")
	s.start("v1")
	v2 := build(t, "v2", "")
	once := filepath.Join(s.t.TempDir(), "once")
	hup := "if [ \"$NODE\" = a ] && curl -s \"$URL/whoami\" | grep -q v2 && mkdir " + once + " 2>/dev/null; " +
		"then kill -HUP 0; fi\n"
	balancer := func(signal string) []string {
		return []string{"METHOD=restart", "BALANCER=" + s.script("balancer.sh", balancing+
			"balancer_in() { if [ \"$1\" = a ] && mkdir "+once+" 2>/dev/null; then kill -"+signal+" 0; fi; }\n")}
	}
	for _, c := range []struct {
		what, say, not string
		a, b           string
		env            []string
	}{
		{"HUP in CHECK", "with the new version: a", "failed", "v2", "v1",
			[]string{"CHECK=dash " + s.script("check.sh", hup)}},
		{"HUP in the balancer's step", "with the new version: a", "could not", "v2", "v1",
			balancer("HUP")},
		{"Ctrl-C in the balancer's step", "in the middle: a", "could not", "v2", "v1",
			balancer("INT")},
		{"Ctrl-C in the last look", "with the new version: a", "changed", "v2", "v1",
			[]string{"NODES=a", s.at("before", "live a [0-9]*", "kill -INT 0")}},
		{"Ctrl-C in the first look", "nothing was touched", "cannot be asked", "v1", "v1",
			[]string{s.at("before", "check b", "kill -INT 0")}},
		{"Ctrl-C as it keeps", "with what it had: a", "could not be kept", "v1", "v1",
			[]string{"NODES=a", s.at("before", "keep a", "kill -INT 0")}},
		{"HUP in ssh", "with the new version: a", "failed", "v2", "v1",
			s.elsewhere("case $* in *' swap a') if mkdir " + once + " 2>/dev/null; then kill -HUP 0; fi ;; esac\n")},
	} {
		_ = syscall.Rmdir(once)
		said, code := flow.Run(t, s.command([]string{"upgrade", v2}, c.env...))
		t.Logf("%s: %d\n%s", c.what, code, said)
		if code != 9 || !strings.Contains(said, c.say) || strings.Contains(said, c.not) {
			t.Errorf("%s: exit code %d, want 9, and %q, not %q", c.what, code, c.say, c.not)
		}
		s.runs(c.a, c.b)
		if c.say != "nothing was touched" {
			s.release(0, "rolled back", "rollback", "", c.env...)
		}
		s.runs("v1", "v1")
	}
}
