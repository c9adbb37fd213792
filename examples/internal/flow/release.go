//go:build linux

package flow

import (
	"encoding/json"
	"fmt"
	"maps"
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

// Release upgrades nodes to a build with release.sh, BALANCER=keepalived, which must exit
// with want. For ssh it has a script that knows the nodes' namespaces and folders.
func Release(t testing.TB, nodes map[string]*Node, want int, args string, env ...string) string {
	t.Helper()
	dir := Dir(t)
	ssh := "node=$1\nshift\ncase $node in\n"
	for name, n := range nodes {
		WriteFile(t, n.Dir, name, n.Settings())
		ssh += fmt.Sprintf("%s) cd %s && SITE=. exec %s \"$@\" ;;\n", name, n.Dir, strings.Join(n.Prefix, " "))
	}
	ssh = WriteFile(t, dir, "ssh", ssh+"esac\nexit 255\n")
	deploy := filepath.Join(Examples(), "deploy")
	cmd := exec.Command("dash", append([]string{filepath.Join(deploy, "release.sh")}, strings.Fields(args)...)...)
	names := slices.Sorted(maps.Keys(nodes))
	cmd.Env = append(append(os.Environ(), "BALANCER=keepalived", "NODES="+strings.Join(names, " "), "ON=dash "+ssh,
		"STATE="+filepath.Join(nodes[names[0]].Dir, "release")), env...)
	said, code := Run(t, cmd)
	t.Logf("release.sh %s: %d\n%s", args, code, said)
	if code != want {
		t.Fatalf("release.sh %s: exit code %d, want %d", args, code, want)
	}
	return said
}
