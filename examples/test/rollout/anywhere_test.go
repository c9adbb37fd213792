//go:build linux

package rollout

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// disturbed is an AT_NODE that sends a signal before or after the step of a number, counted from 1.
const disturbed = `
read -r n <"$COUNT"
echo $((n + 1)) >"$COUNT"
case $AT in "$n:"*) ;; *) exec sh "$NODE_SH" "$@" ;; esac
disturb() {
	[ "$n:$1" = "$AT" ] || return 0
	read -r pid <"$STATE/lock"
	case $SIGNAL in
	KILL | TERM) kill -s "$SIGNAL" "$pid" ;; # the script alone
	*) kill -s "$SIGNAL" 0 ;; # all, as a terminal does
	esac
}
disturb before
sh "$NODE_SH" "$@"
code=$?
disturb after
exit $code
`

// TestSignalAnywhere: whatever signal comes before or after whatever step, the exit code and the words are what runs,
// and the next word to the release ends it.
func TestSignalAnywhere(t *testing.T) {
	signals := []string{"KILL", "INT", "HUP", "TERM"}
	for _, c := range []struct {
		method, names string
		every, least  int // of the steps, and so many there are
	}{
		{"METHOD=swap", "a", 1, 12}, {"METHOD=restart", "a b", 2, 30},
	} {
		t.Run(c.method, func(t *testing.T) {
			s := newSite(t, c.names)
			s.light = c.method == "METHOD=restart"
			env := []string{c.method}
			if s.light {
				env = append(env, "BALANCER="+s.script("balancer.sh", balancing))
			}
			hook := append(slices.Clone(env), "AT_NODE=sh "+s.script("at.sh", disturbed), "COUNT="+s.dir+"/count",
				"NODE_SH="+deploy+"/node.sh")
			now, next := "v1", "v2"
			s.release(0, "complete", "upgrade", build(t, now, ""), env...)
			// The signal, the moment and the end change from one step to the next.
			for i := 0; ; i++ {
				at, signal, when := c.every*(i+1), signals[i%4], []string{"before", "after"}[i/4%2]
				flow.WriteFile(t, s.dir, "count", "1\n")
				last, _ := s.journal()
				said, code := flow.Run(t, s.command([]string{"upgrade", build(t, next, "")},
					append(hook, fmt.Sprintf("AT=%d:%s", at, when), "SIGNAL="+signal)...))
				what := fmt.Sprintf("%s %s step %d: exit code %d\n%s", signal, when, at, code, said)
				t.Log(what)
				text, _ := os.ReadFile(s.dir + "/count")
				if next, err := strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
					t.Fatal(err)
				} else if next <= at {
					if code != 0 || at < c.least {
						t.Errorf("there is no step %d: %s", at, what)
					}
					break
				}
				line, complete := s.journal()
				begun := line != last
				s.saysWhatRuns(what, said, code, now, next, begun && complete)
				verb := []string{"continue", "rollback"}[(i+i/8)%2]
				if !begun {
					verb = "continue" // rollback would be that of the release before
				}
				s.release(0, "", verb, "", env...)
				if verb == "continue" && begun {
					now, next = next, now
				}
				s.runs(slices.Repeat([]string{now}, len(s.nodes))...)
				if left := s.claims(); left != "" {
					t.Fatalf("%q are claimed still after %s", left, what)
				}
			}
		})
	}
}

// journal returns the line with which the last release has begun, and whether it is complete.
func (s *site) journal() (first string, complete bool) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "release", "journal"))
	if err != nil {
		s.t.Fatal(err)
	}
	first, _, _ = strings.Cut(string(text), "\n")
	return first, strings.HasSuffix(string(text), " complete\n")
}

// saysWhatRuns compares the end of a release that was disturbed with the nodes.
func (s *site) saysWhatRuns(what, said string, code int, before, after string, complete bool) {
	s.t.Helper()
	want := map[string][]string{"a": {before, after}, "b": {before, after}}
	switch {
	case code == 0:
		want["a"], want["b"] = []string{after}, []string{after}
		if !complete {
			s.t.Errorf("it is not complete: %s", what)
		}
	case code == -1 && complete:
		want["a"], want["b"] = []string{after}, []string{after}
	case code == -1:
	case code != 9:
		s.t.Errorf("want 0, or 9 and what runs: %s", what)
	case strings.Contains(said, "nothing was touched"):
		want["a"], want["b"] = []string{before}, []string{before}
	default:
		told := 0
		_, said, _ := strings.Cut(said, "interrupted: ")
		for words, version := range map[string]string{
			"with the new version:": after, "with what it had:": before, "in the middle:": "",
		} {
			for _, part := range strings.Split(said, words)[1:] {
				nodes, _, _ := strings.Cut(part, ";")
				for _, name := range strings.Fields(nodes) {
					if told++; version != "" {
						want[name] = []string{version}
					}
				}
			}
		}
		if told != len(s.nodes) {
			s.t.Errorf("want words on each node: %s", what)
		}
	}
	for i, n := range s.nodes {
		name, got := string(rune('a'+i)), ""
		if pid := n.PID(); pid != 0 && flow.Alive(pid) {
			got = n.Whoami().Version
		}
		if got == "" && (code == -1 || strings.Contains(said, "in the middle: "+name)) {
			continue // stopped, and not yet started
		}
		if !strings.Contains(" "+strings.Join(want[name], " ")+" ", " "+got+" ") {
			s.t.Errorf("%s runs %q, want %v: %s", name, got, want[name], what)
		}
	}
}
