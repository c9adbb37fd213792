//go:build linux

package gray

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// killer stands before node.sh and haproxy.sh. It counts their calls, and at one
// of them kills release.sh, with -9. Then that step is not done at all (skip), or
// it goes on alone, as the children of a killed script do (go).
const killer = `
n=$(($(cat "$COUNT") + 1))
echo "$n" >"$COUNT"
if [ "$n" = "$AT" ]; then
	echo "$*" >>"$COUNT.at"
	read -r pid <"$STATE/lock"
	kill -9 "$pid"
	[ "$HOW" = go ] || exit 1
fi
script=$1
shift
exec dash "$script" "$@"
`

// TestKilled kills a release of two nodes in each of its steps, and continues it
// or rolls it back.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""))
	s.names = []string{"a", "b"}
	builds := map[string]string{"v1": flow.Build(t, "nethttp", "v1", ""), "v2": flow.Build(t, "nethttp", "v2", "")}
	load := flow.NewLoad(t, s.addr, 4, 2)
	kill := flow.WriteFile(t, s.dir, "killer.sh", killer)
	count := filepath.Join(s.dir, "count")

	// The calls: check a, check b; check b, keep a, down, empty, stop, put, start, check,
	// up; again up after the gate; b's nine.
	runs := "v1"
	for at := 1; ; at++ {
		next := map[string]string{"v1": "v2", "v2": "v1"}[runs]
		how, repair, want := "go", "continue", next
		if at%2 == 0 {
			how = "skip"
		}
		if at%4 >= 2 {
			repair, want = "rollback", runs
		}
		os.Remove(count + ".at")
		flow.WriteFile(t, s.dir, "count", "0")
		_, code := flow.Run(t, s.command("upgrade "+builds[next],
			"AT_NODE=dash "+kill+" node.sh", "BALANCER=dash "+kill+" haproxy.sh",
			"COUNT="+count, fmt.Sprintf("AT=%d", at), "HOW="+how, "WEIGHT=50"))
		step, err := os.ReadFile(count + ".at")
		if err != nil {
			if code != 0 || at < 20 {
				t.Fatalf("step %d: exit code %d, and nobody was killed", at, code)
			}
			break // it has no more steps
		}
		if code != -1 {
			t.Fatalf("exit code %d at %q, want a kill", code, step)
		}
		t.Logf("killed at step %d, %s: %.40s", at, how, step)
		if _, err := os.Stat(filepath.Join(s.state(), "journal")); at <= 2 && os.IsNotExist(err) {
			// Nothing has begun.
			s.want(nil, runs, runs)
			continue
		}
		s.release(0, repair)
		if repair == "continue" && at <= 2 {
			want = runs // there was nothing to continue
		}
		s.want(nil, want, want)
		runs = want
		if load.Failed() > 0 {
			t.Fatalf("at %q: %v", step, load)
		}
	}
	load.Report("gray release", "killed in each step, then continued or rolled back", 0)
}
