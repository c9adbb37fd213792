//go:build linux

package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/drain"
)

// Node is one machine of a site as far as its service goes: a folder with the
// deployed binary, and an operator's settings for control.sh.
type Node struct {
	t     testing.TB
	Dir   string
	Addr  string
	Flags []string // of the service, besides -addr, -control and -pidfile
	// Prefix stands before every command of the node, such as "ip netns exec name".
	Prefix []string
	// Generations is how many of the service may live at once, where its flags
	// allow for more than 4, the default.
	Generations int
}

// NewNode deploys a build. Nothing runs yet.
func NewNode(t testing.TB, addr, build string, flags ...string) *Node {
	t.Helper()
	n := &Node{t: t, Dir: Dir(t), Addr: addr, Flags: flags}
	Tool(t, "dash", "apt-get install dash")
	Tool(t, "curl", "apt-get install curl")
	t.Cleanup(func() {
		if t.Failed() {
			killUnder(n.Dir, syscall.SIGKILL)
			log, _ := os.ReadFile(n.Path("log"))
			t.Logf("the log of the service at %s:\n%s", n.Addr, log)
		}
		log, _ := os.ReadFile(n.Path("log"))
		if strings.Contains(string(log), "DATA RACE") {
			t.Errorf("the service at %s has a data race:\n%s", n.Addr, log)
		}
		killUnder(n.Dir, syscall.SIGKILL)
	})
	n.Deploy(build)
	return n
}

// Path returns where the node keeps "app", "pid", "log" and "control".
func (n *Node) Path(name string) string { return filepath.Join(n.Dir, name) }

// Deploy puts another build in place.
func (n *Node) Deploy(build string) {
	n.t.Helper()
	Deploy(n.t, build, n.Path("app"))
}

// Env are the settings for control.sh, and for scripts that call it.
func (n *Node) Env() []string {
	args := append([]string{"-addr", n.Addr, "-control", n.Path("control")}, n.Flags...)
	return []string{
		"BIN=" + n.Path("app"), "PIDFILE=" + n.Path("pid"), "LOG=" + n.Path("log"), "CONTROL=" + n.Path("control"),
		"URL=http://" + n.Addr, "ARGS=" + strings.Join(args, " "),
	}
}

// Settings are Env as lines that a shell script reads.
func (n *Node) Settings() string {
	var lines strings.Builder
	for _, setting := range n.Env() {
		name, value, _ := strings.Cut(setting, "=")
		fmt.Fprintf(&lines, "%s='%s'\n", name, value)
	}
	return lines.String()
}

// Status is what the service says of itself at its control socket.
func (n *Node) Status() (st drain.Status) {
	n.t.Helper()
	said, err := drain.Control(context.Background(), n.Path("control"), "status")
	if err == nil {
		err = json.Unmarshal(said, &st)
	}
	if err != nil {
		n.t.Fatalf("%s: status: %v\n%s", n.Addr, err, said)
	}
	return st
}

// Control runs control.sh, and wants exit code 0. It returns what that said.
func (n *Node) Control(verb string, env ...string) string {
	n.t.Helper()
	command := append(slices.Clone(n.Prefix), "dash", filepath.Join(Examples(), "deploy", "control.sh"), verb)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(append(os.Environ(), n.Env()...), env...)
	said, code := Run(n.t, cmd)
	n.t.Logf("%s: control.sh %s: %d, %s", n.Addr, verb, code, strings.TrimSpace(said))
	if code != 0 {
		n.t.Fatalf("%s: control.sh %s: exit code %d, want 0", n.Addr, verb, code)
	}
	return said
}

// PID returns what the PID file says, 0 if there is none.
func (n *Node) PID() int {
	b, err := os.ReadFile(n.Path("pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// Identity is what a service says of itself at /whoami.
type Identity struct {
	PID, Generation int
	Phase, Version  string
}

// Whoami asks on a connection of its own, the node directly.
func (n *Node) Whoami() Identity {
	n.t.Helper()
	return Whoami(n.t, "http://"+n.Addr)
}

// Whoami asks who answers at a URL, on a connection of its own.
func Whoami(t testing.TB, url string) (who Identity) {
	t.Helper()
	client := &http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url + "/whoami")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil {
		err = json.Unmarshal(body, &who)
	}
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s/whoami: %s %s (%v)", url, res.Status, body, err)
	}
	return who
}
