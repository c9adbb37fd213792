//go:build linux

package gray

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// killer stands before node.sh and the BALANCER's functions. It counts their calls, and at one
// of them kills release.sh, with -9. Then that step is not done at all (skip), or
// it goes on alone, as the children of a killed script do (go), once the next run
// has seen that.
const killer = `
n=$(($(cat "$COUNT") + 1))
echo "$n" >"$COUNT"
if [ "$n" = "$AT" ]; then
	echo "$*" >>"$COUNT.at"
	read -r pid <"$STATE/lock"
	kill -9 "$pid"
	[ "$HOW" = go ] || exit 1
	until grep -q "waiting for it" "$REPAIR" || [ -e "$REPAIR.over" ]; do sleep 0.1; done
fi
script=$1
shift
exec dash "$script" "$@"
`

// killing is a BALANCER with the killer before each change, and call one of those.
const (
	killing = `
. ../balancer/haproxy.sh
balancer_out() { dash "$KILLER" "$CALL" out "$@"; }
balancer_in() { dash "$KILLER" "$CALL" in "$@"; }
`
	call = `
BALANCER_TIMEOUT=60
. ../common.sh
. ../balancer/haproxy.sh
name=$1
shift
"balancer_$name" "$@"
`
)

// TestInterrupted: a signal for the script alone lets the node's turn end; Ctrl-C is for the step
// as well, and the node gets its old version back.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""), "a", "b")
	load := flow.NewLoad(t, s.addr, 2, 1)
	upgrade := "upgrade " + flow.Build(t, "nethttp", "v2", "")
	spy := "AT_NODE=dash " + flow.WriteFile(t, s.dir, "spy.sh", `
if [ "$1 $2" = "$AT" ] && mkdir "$STATE/once" 2>/dev/null; then
	$DO $PPID
fi
exec dash ../node.sh "$@"
`)
	for _, c := range []struct {
		at, kill, say string
		code          int
		a             string
	}{
		{"start a", "kill -TERM", "new a", 9, "v2"},
		{"stop a", "kill -HUP", "new a", 9, "v2"},
		{"start a", "kill -INT 0", "old a", 9, "v1"},
		{"put a", "kill -INT 0", "old a", 9, "v1"},
	} {
		os.Remove(filepath.Join(s.state(), "once"))
		b := s.nodes["b"].PID()
		cmd := s.command(upgrade, spy, "AT="+c.at, "DO="+c.kill)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // for Ctrl-C
		said, code := flow.Run(t, cmd)
		t.Logf("%s at %q: %d\n%s", c.kill, c.at, code, said)
		if code != c.code || !strings.Contains(said, c.say) || s.nodes["b"].PID() != b {
			t.Errorf("%s at %q: exit code %d, want %d, %q, and b not touched", c.kill, c.at, code, c.code, c.say)
		}
		s.want(nil, c.a, "v1")
		s.release(0, "rollback")
		s.want(nil, "v1", "v1")
	}
	if load.End().Failed() > 0 || load.Reconnects() > 0 {
		t.Errorf("%v, want 0 failed, 0 reconnects", load)
	}
}

// TestKilled kills a release of two nodes in each step of the first one's turn,
// and a little later, and continues it or rolls it back.
func TestKilled(t *testing.T) {
	t.Parallel()
	for first := 10; first <= 13; first++ { // four sites, since each takes its time
		how := [2]string{"skip", "go"}[first%2]
		t.Run(fmt.Sprintf("%s from %d", how, first), func(t *testing.T) {
			t.Parallel()
			killed(t, how, first)
		})
	}
}

func killed(t *testing.T, how string, first int) {
	builds := map[string]string{"v1": flow.Build(t, "nethttp", "v1", ""), "v2": flow.Build(t, "nethttp", "v2", "")}
	s := newSite(t, builds["v1"], "a", "b")
	load := flow.NewLoad(t, s.addr, 2, 1)
	kill := flow.WriteFile(t, s.dir, "killer.sh", killer)
	balancer, each := flow.WriteFile(t, s.dir, "killing.sh", killing), flow.WriteFile(t, s.dir, "call.sh", call)
	count, repaired := filepath.Join(s.dir, "count"), filepath.Join(s.dir, "repair")

	// The calls: check a, check b, has a, check b, claim a, claim b, show a, show b; then check a, check b, keep a,
	// out, empty, stop, put, start, check, live, in; in again after the gate; then b's turn.
	const last = 23
	runs := "v1"
	for at := first; at <= last; at += 4 {
		next := map[string]string{"v1": "v2", "v2": "v1"}[runs]
		repair, want := "continue", next
		if at%4 < 2 {
			repair, want = "rollback", runs
		}
		flow.WriteFile(t, s.dir, "count", "0")
		flow.WriteFile(t, s.dir, "repair", "")
		_, code := flow.Run(t, s.command("upgrade "+builds[next],
			"AT_NODE=dash "+kill+" ../node.sh", "BALANCER="+balancer, "KILLER="+kill, "CALL="+each,
			"COUNT="+count, "REPAIR="+repaired, fmt.Sprintf("AT=%d", at), "HOW="+how, "WEIGHT=50"))
		step, err := os.ReadFile(count + ".at")
		if err != nil || code != -1 {
			t.Fatalf("step %d: exit code %d, want a kill (%v)", at, code, err)
		}
		t.Logf("killed at step %d: %.40s", at, step)
		repairing := s.command(repair)
		out, err := os.OpenFile(repaired, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		repairing.Stdout, repairing.Stderr = out, out
		err = repairing.Run()
		out.Close()
		flow.WriteFile(t, s.dir, "repair.over", "")
		said, _ := os.ReadFile(repaired)
		t.Logf("release.sh %s: %v\n%s", repair, err, said)
		if waited := strings.Contains(string(said), "waiting for it"); err != nil || waited != (how == "go") {
			t.Fatalf("release.sh %s: %v, has waited for the last step: %v, want %v", repair, err, waited, how == "go")
		}
		os.Remove(repaired + ".over")
		s.want(nil, want, want)
		if at == 15 {
			// What was kept is the version before, also when the new one was in place already.
			s.release(0, "rollback")
			want = runs
			s.want(nil, want, want)
		}
		runs = want
		if load.Failed() > 0 {
			t.Fatalf("at %q: %v", step, load)
		}
		os.Remove(count + ".at")
	}
	if load.End().Failed() > 0 || load.Reconnects() > 0 {
		t.Errorf("%v, want 0 failed, 0 reconnects", load)
	}
}
