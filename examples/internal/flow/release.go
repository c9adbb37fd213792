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

// Release upgrades nodes to a build with release.sh, BALANCER=keepalived, which must exit with want. It reaches them
// by ssh: each has an sshd, which ends with the connection, in the node's namespace and folder.
func Release(t testing.TB, nodes map[string]*Node, want int, args string, env ...string) string {
	t.Helper()
	ssh := sshTo(t, nodes)
	for name, n := range nodes {
		WriteFile(t, n.Dir, name, n.Settings())
	}
	deploy := filepath.Join(Examples(), "deploy")
	cmd := exec.Command("dash", append([]string{filepath.Join(deploy, "release.sh")}, strings.Fields(args)...)...)
	names := slices.Sorted(maps.Keys(nodes))
	cmd.Env = append(append(os.Environ(),
		"BALANCER=keepalived", "NODES="+strings.Join(names, " "), "ON="+ssh,
		"AT_NODE=env SITE=. dash "+filepath.Join(deploy, "node.sh"),
		"STATE="+filepath.Join(nodes[names[0]].Dir, "release")), env...)
	said, code := Run(t, cmd)
	t.Logf("release.sh %s: %d\n%s", args, code, said)
	if code != want {
		t.Fatalf("release.sh %s: exit code %d, want %d", args, code, want)
	}
	return said
}

// QuickSSHD is for the SetEnv of an sshd: bash runs ~/.bashrc for a command of ssh unless another shell seems to have
// started it. QuickSSH has ssh agree on a key without arithmetic that is slow. Each took 0.1 s of CPU time a command.
const (
	QuickSSHD = "SHLVL=1"
	QuickSSH  = "KexAlgorithms curve25519-sha256\n"
)

// sshTo returns the command that is ssh to nodes by their names, with keys of this test alone.
func sshTo(t testing.TB, nodes map[string]*Node) string {
	t.Helper()
	Root(t)
	ssh, sshd := Tool(t, "ssh", "apt-get install openssh-client"), Tool(t, "sshd", "apt-get install openssh-server")
	dir := Dir(t)
	for _, key := range []string{"host", "user"} {
		keygen := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
		if said, code := Run(t, keygen); code != 0 {
			t.Fatalf("ssh-keygen: %d, %s", code, said)
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where sshd parts with its privileges
		t.Fatal(err)
	}
	client := "BatchMode yes\nStrictHostKeyChecking no\nLogLevel ERROR\nUserKnownHostsFile /dev/null\n" +
		"IdentitiesOnly yes\nUser root\nIdentityFile " + dir + "/user\n" + QuickSSH
	for name, n := range nodes {
		server := WriteFile(t, dir, "sshd."+name, "HostKey "+dir+"/host\nAuthorizedKeysFile "+dir+"/user.pub\n"+
			"StrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\nPrintMotd no\n"+
			"SetEnv APP_KEEPER="+Keeper+" "+QuickSSHD+"\n"+
			"ForceCommand cd "+n.Dir+" && exec sh -c \"$SSH_ORIGINAL_COMMAND\"\n")
		client += fmt.Sprintf("Host %s\nProxyCommand %s %s -i -f %s\n", name, strings.Join(n.Prefix, " "), sshd, server)
	}
	return ssh + " -F " + WriteFile(t, dir, "ssh_config", client)
}
