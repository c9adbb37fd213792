//go:build linux

package swarm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// docker says what files have, and an update or a deploy puts other ones in their place. Of states, each is said once
// and the last one from then on.
const docker = `#!/bin/sh
cd "$SAYS" || exit
case $* in
*UpdateStatus*) head -n 1 states; [ "$(wc -l <states)" = 1 ] || sed -i 1d states ;;
*Replicas*) echo 2 ;;
*PreviousSpec*) cat previous ;;
*ContainerSpec.Image*) cat image ;;
*desired-state=running*) cat running ;;
*no-resolve*desired-state=shutdown*) cat told ;;
*desired-state=shutdown*) cat shutdown ;;
*'node ls'*)
	while read -r id name status; do
		echo "$4" | sed "s/{{.ID}}/$id/; s/{{.Hostname}}/$name/; s/{{.Status}}/$status/"
	done <nodes
	;;
*'service update'* | *'stack deploy'*)
	[ ! -e refused ] || { cat refused >&2; exit 1; }
	cp after/* . 2>/dev/null || :
	;;
esac
`

// TestWords: what swarm.sh says and how it exits is what runs, in what Swarm does not do at will.
func TestWords(t *testing.T) {
	t.Parallel()
	const v1, v2, v3 = "r.test/app:v1", "r.test/app:v2", "r.test/app:v3"
	const between = "another update came in between"
	const wanted = " is wanted now: " + between
	running := strings.Repeat(v1+" Running 5 seconds ago\n", 2)
	refused := map[string]string{"refused": "rpc error: code = Unknown desc = update out of sequence"}
	const isDown = "; node w1 is down: start it, or docker node rm --force n1"
	const nodes, lost = "n0 m Ready\nn1 w1 Ready\n", "n0 m Ready\nn1 w1 Down\n"
	all := strings.ReplaceAll(running, v1, v3)
	updated := func(told, nodes string) map[string]string {
		return map[string]string{"image": v3, "running": all, "told": told, "nodes": nodes}
	}
	other := map[string]string{
		"states": "completed\n", "image": v2, "running": strings.ReplaceAll(running, v1, v2),
	}
	for name, c := range map[string]struct {
		do     string
		before map[string]string
		after  map[string]string
		code   int
		says   string
	}{
		"a registry has added a digest": {
			do: "update " + v3, before: map[string]string{"image": v1 + "@sha256:1"},
			after: map[string]string{
				"states": "rollback_completed\n", "running": strings.ReplaceAll(running, " ", "@sha256:1 "),
				"shutdown": "t1 " + v3 + "@sha256:3 Failed 2 seconds ago \"task: non-zero exit (3)\"\n",
			},
			code: 1, says: "non-zero exit (3)",
		},
		"settings that fail, of the image that runs": {
			do:    "deploy " + v1,
			after: map[string]string{"states": "\nupdating\nrollback_completed\n"},
			code:  1, says: v1 + " fails: " + v1 + " runs, as before",
		},
		"the same once more": {do: "deploy " + v1, after: map[string]string{"states": "\n"}},
		"a rollback that fails": {
			do:    "rollback",
			after: map[string]string{"states": "rollback_paused\n", "running": v1 + " Running 5 seconds ago\n"},
			code:  4, says: "not each task runs " + v1,
		},
		"a rollback to what runs": {do: "rollback", says: v1 + " runs"},
		"another update is under way": {
			do: "update " + v3, before: map[string]string{"states": "updating\n"},
			code: 7, says: "another update is under way",
		},
		// Of two that begin at once both find nothing under way.
		"the update of two that Swarm refuses":   {do: "update " + v3, before: refused, code: 7, says: between},
		"the deploy of two that Swarm refuses":   {do: "deploy " + v3, before: refused, code: 7, says: between},
		"the rollback of two that Swarm refuses": {do: "rollback", before: refused, code: 7, says: between},
		"an update that Swarm refuses for another reason": {
			do: "update " + v3, before: map[string]string{"refused": "no such network"},
			code: 1, says: "no such network",
		},
		"the update of two that comes first":   {do: "update " + v3, after: other, code: 7, says: v2 + wanted},
		"the deploy of two that comes first":   {do: "deploy " + v3, after: other, code: 7, says: v2 + wanted},
		"the rollback of two that comes first": {do: "rollback", after: other, code: 7, says: v2 + wanted},
		// What a node last said of its tasks stays, when it is lost.
		"an old task is on a node that is down": {
			do: "update " + v3, after: updated("n0 Shutdown 2 seconds ago\nn1 Running 5 minutes ago\n", lost),
		},
		"an old task is on a node that is up": {
			do: "update " + v3, after: updated("n1 Running 5 minutes ago\n", nodes),
			code: 4, says: "service ps web_app\n",
		},
		"one that is up, while another one is down": {
			do: "update " + v3, after: updated("n0 Running 5 minutes ago\nn1 Running 5 minutes ago\n", lost),
			code: 4, says: "is not done after 4 s: see docker service ps web_app" + isDown,
		},
		"a node that Swarm has not heard of yet": {
			do:    "update " + v3,
			after: updated("n1 Running 5 minutes ago\n", strings.ReplaceAll(lost, "Down", "Unknown")),
			code:  4, says: "service ps web_app\n",
		},
		"no other node takes its task": {
			do: "update " + v3, after: map[string]string{
				"image": v3, "running": v3 + " Running 5 seconds ago\n" + v3 + " Pending 5 seconds ago\n",
				"nodes": lost,
			},
			code: 4, says: "not each task runs " + v3 + ": see docker service ps web_app" + isDown,
		},
		"nor that of the way back": {
			do: "rollback", before: map[string]string{"nodes": lost},
			after: map[string]string{"running": v1 + " Running 5 seconds ago\n"},
			code:  4, says: "not each task runs " + v1 + ": see docker service ps web_app" + isDown,
		},
		"Swarm waits for a node that is down": {
			do: "update " + v3, after: map[string]string{"states": "updating\n", "nodes": lost}, code: 4, says: isDown,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			put := func(dir string, files map[string]string) {
				for name, text := range files {
					flow.WriteFile(t, dir, name, text)
				}
			}
			put(dir, map[string]string{
				"states": "completed\n", "image": v1, "previous": v1, "running": running, "shutdown": "",
				"told": "", "nodes": nodes,
			})
			put(dir, c.before)
			if err := os.Mkdir(filepath.Join(dir, "after"), 0o755); err != nil {
				t.Fatal(err)
			}
			put(filepath.Join(dir, "after"), c.after)
			if err := os.Chmod(flow.WriteFile(t, dir, "docker", docker), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("dash", append([]string{"swarm.sh"}, strings.Fields(c.do)...)...)
			cmd.Env = append(os.Environ(), "DOCKER="+filepath.Join(dir, "docker"), "SAYS="+dir, "TIMEOUT=4")
			said, code := flow.Run(t, cmd)
			if code != c.code || !strings.Contains(said, c.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, c.says, said)
			}
		})
	}
}
