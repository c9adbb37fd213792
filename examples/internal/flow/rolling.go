//go:build linux

package flow

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Run runs a command on the node that must succeed, and returns what it said.
func (n *Node) Run(args ...string) string {
	n.t.Helper()
	args = append(slices.Clone(n.Prefix), args...)
	said, code := Run(n.t, exec.Command(args[0], args[1:]...))
	if code != 0 {
		n.t.Fatalf("%v: exit code %d\n%s", args, code, said)
	}
	return said
}

// Version asks the node directly, from the node itself.
func (n *Node) Version() string {
	n.t.Helper()
	var who Identity
	said := n.Run("curl", "-q", "-s", "-f", "http://"+n.Addr+"/whoami")
	if err := json.Unmarshal([]byte(said), &who); err != nil {
		n.t.Fatalf("%s/whoami: %v: %s", n.Addr, err, said)
	}
	return who.Version
}

// Rolling upgrades nodes to a build with keepalived/rolling.sh, which must exit
// with want. For ssh it has a script that knows their folders and settings.
func Rolling(t testing.TB, nodes map[string]*Node, want int, build string, env ...string) string {
	t.Helper()
	dir := Dir(t)
	ssh := "set -e\nnode=$1\nshift\ncase $node in\n"
	for name, n := range nodes {
		ssh += fmt.Sprintf("%s)\ncd %s\nset -a\n%sset +a\nset -- %s \"$@\" ;;\n", name, n.Dir, n.Settings(),
			strings.Join(n.Prefix, " "))
	}
	ssh = WriteFile(t, dir, "ssh", ssh+"*) exit 255 ;;\nesac\nexec \"$@\"\n")
	upgrade := WriteFile(t, dir, "upgrade", fmt.Sprintf("set -e\ncp %s app.new\nmv app.new app\nexec dash %s restart\n",
		build, filepath.Join(Examples(), "deploy", "control.sh")))
	cmd := exec.Command("dash", filepath.Join(Examples(), "deploy", "keepalived", "rolling.sh"))
	cmd.Env = append(append(os.Environ(), "ON=dash "+ssh, "UPGRADE=dash "+upgrade), env...)
	said, code := Run(t, cmd)
	t.Logf("rolling.sh: %d\n%s", code, said)
	if code != want {
		t.Fatalf("rolling.sh: exit code %d, want %d", code, want)
	}
	return said
}
