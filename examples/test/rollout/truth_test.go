//go:build linux

package rollout

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestTwice: the same deployed twice is one, and the way back leads where it has led before. What is kept is bounded.
func TestTwice(t *testing.T) {
	s := newSite(t, "a b")
	v1, v2, v3 := build(t, "v1", ""), build(t, "v2", ""), build(t, "v3", "")
	s.release(0, "nothing was touched", "--dry-run upgrade", v1)
	if _, err := os.Stat(filepath.Join(s.dir, "release")); err == nil {
		t.Error("a dry run has left a release")
	}
	s.runs("", "")
	s.release(0, "complete", "upgrade", v1, "VERSION=v1") // the first is one like any other
	s.runs("v1", "v1")
	s.release(0, "complete", "upgrade", v2, "VERSION=v2")
	pids := s.runs("v2", "v2")
	said := s.release(0, "1. a: put", "--dry-run upgrade", v1)
	if !strings.Contains(said, "2. b: put") || s.runs("v2", "v2") != pids {
		t.Error("a dry run has touched something, or says too little")
	}
	s.release(0, "nothing to do", "upgrade", v2)
	s.release(0, "nothing to do", "share", v2)
	if s.runs("v2", "v2") != pids {
		t.Error("what runs it already was touched")
	}
	s.release(0, "rolled back", "rollback", "")
	s.runs("v1", "v1")

	// A release that fails at its second node: the first has the same twice, and goes back to what it had.
	s.release(0, "complete", "upgrade", v2)
	s.release(0, "shared", "share", v3)
	s.release(0, "rolled back", "rollback", "")
	s.runs("v2", "v2")
	s.release(0, "complete", "upgrade", v1, "KEEP=2")
	s.runs("v1", "v1")
	s.release(0, "rolled back", "rollback", "")
	s.runs("v2", "v2")
	for _, n := range s.nodes {
		kept, _ := filepath.Glob(s.bin(n) + ".releases/[0-9]*")
		if len(kept) < 2 || len(kept) > 3 {
			t.Errorf("with KEEP=2 these are kept: %v", kept)
		}
		if to, err := os.Readlink(s.bin(n)); err != nil || !strings.HasPrefix(to, "app.releases/") {
			t.Errorf("%s links to %q: %v", s.bin(n), to, err)
		}
	}
	said = s.release(0, "(v2)", "history", "")
	for _, want := range []string{
		"upgrade " + v1 + " (v1)", "a: does not run; b: does not run;", "each node runs it already",
		"rollback ended with 0, rolled back; a: v1; b: v1;", "upgrade ended with 0, complete; a: v2; b: v2;",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("the history does not say %q", want)
		}
	}
	s.release(0, "a: version v2 pid ", "status", "")
}

// TestTwoAtOnce: the second says whose the nodes are, and touches nothing, whatever STATE it has. Status says that one
// runs.
func TestTwoAtOnce(t *testing.T) {
	s := newSite(t, "a b")
	s.start("v1")
	said := filepath.Join(s.dir, "said")
	gate := flow.WriteFile(t, flow.Dir(t), "gate.sh", `
for verb in "upgrade $FILE" "--dry-run upgrade $FILE" status; do
	for state in "$STATE" "$STATE.other"; do
		[ "$verb" != status ] || [ "$state" = "$STATE" ] || continue
		STATE=$state GATE='' dash "$DEPLOY/release.sh" $verb >>"$SAID" 2>&1
		echo "exit code $?" >>"$SAID"
	done
done
`)
	s.release(0, "complete", "upgrade", build(t, "v2", ""), "GATE=dash "+gate,
		"FILE="+build(t, "v3", ""), "DEPLOY="+deploy, "SAID="+said, "STATE="+filepath.Join(s.dir, "release"))
	s.runs("v2", "v2")
	text, _ := os.ReadFile(said)
	for _, want := range []string{"a release runs already: pid ", "a is in the hands of another release: upgrade by ",
		"a release runs: pid ", "since"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("want %q", want)
		}
	}
	if strings.Count(string(text), "exit code 7\n") != 5 || t.Failed() {
		t.Errorf("want exit code 7 five times:\n%s", text)
	}

	// Pairs that begin at the same moment: what runs is whole, and is what the one that says 0 has released.
	who := "v2"
	for i := range 2 {
		versions := slices.DeleteFunc([]string{"v1", "v2", "v3"}, func(v string) bool { return v == who })
		var cmds []*exec.Cmd
		for j, version := range versions {
			cmd := s.command([]string{"upgrade", build(t, version, "")}, fmt.Sprintf("STATE=%s/pair %d", s.dir, j))
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			cmds = append(cmds, cmd)
		}
		done := []string{}
		for j, cmd := range cmds {
			_ = cmd.Wait()
			switch code := cmd.ProcessState.ExitCode(); code {
			case 0:
				done = append(done, versions[j])
			case 5, 7: // the other one's node is in the middle of a swap, or the other one goes on
			default:
				t.Errorf("pair %d: exit code %d, want 0, 5 or 7", i, code)
			}
		}
		who = s.nodes[0].Whoami().Version
		if !slices.Contains(done, who) {
			t.Errorf("pair %d: %v say that they are done, and %s runs", i, done, who)
		}
		s.runs(who, who)
	}
}

// TestLooksAtWhatRuns: complete is said of nodes that run it, and not of those that somebody has changed.
func TestLooksAtWhatRuns(t *testing.T) {
	s := newSite(t, "a")
	s.start("v1")
	v2, bin := build(t, "v2", ""), "'"+s.bin(s.nodes[0])
	s.release(4, "does not run well at a any more", "upgrade", v2, s.at("before", "live a [0-9]*",
		"cp "+build(t, "v3", "")+" "+bin+".x' && mv "+bin+".x' "+bin+"'"))
	s.release(1, "changed a", "status", "")
	s.release(0, "complete", "continue", "")
	s.runs("v2")
	if to, _ := os.Readlink(s.bin(s.nodes[0])); to == "" {
		t.Error("a is no link again")
	}

	// A version that never was live is nothing to go back to.
	pids := s.runs("v2")
	s.release(1, "a failed", "upgrade", build(t, "v3", "crash"))
	s.release(1, "a failed", "continue", "")
	s.release(0, "rolled back", "rollback", "")
	if s.runs("v2") != pids {
		t.Error("what failed has changed something")
	}
	s.release(1, "a failed", "upgrade", build(t, "v3", "check"))
	s.release(0, "rolled back", "rollback", "")
	s.runs("v2")
}

// TestLost: a connection that is lost, a reader that is gone, a terminal that hangs up. The node's turn ends, and
// what is left is said.
func TestLost(t *testing.T) {
	s := newSite(t, "a b")
	s.start("v1")
	dir := flow.Dir(t)
	ssh := flow.WriteFile(t, dir, "ssh.sh", `
shift # the node
case "$*" in
*"$LOSE a"*) head -c 100000 | "$@" ;;
*) exec "$@" ;;
esac
`)
	on := []string{"ON=dash " + ssh, "AT_NODE=env SITE=" + dir + "/nodes dash " + deploy + "/node.sh"}
	if err := os.Symlink(filepath.Join(s.dir, "nodes"), filepath.Join(dir, "nodes")); err != nil {
		t.Fatal(err)
	}
	pids := s.runs("v1", "v1")
	s.release(1, "has not arrived whole", "upgrade", build(t, "v2", ""), append(on, "LOSE=put")...)
	if s.runs("v1", "v1") != pids {
		t.Error("half a binary has been put")
	}
	s.release(0, "complete", "continue", "", append(on, "LOSE=nothing")...)
	s.runs("v2", "v2")
	lost := flow.WriteFile(t, dir, "lost.sh", "exit 255\n")
	s.release(6, "cannot be asked", "upgrade", build(t, "v3", ""), "ON=dash "+lost, "AT_NODE=x")

	// What is set here reaches nodes elsewhere.
	s.release(5, "\"test -e /nonexistent\" failed", "upgrade", build(t, "v3", ""),
		append(on, "LOSE=nothing", "CHECK=test -e /nonexistent")...)

	for _, c := range []struct {
		what string
		cmd  func(*exec.Cmd)
	}{
		{"nobody reads", func(cmd *exec.Cmd) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			cmd.Stdout, cmd.Stderr = w, w
			t.Cleanup(func() { _ = w.Close() })
		}},
		{"the terminal hangs up", func(cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, "AT_NODE=dash "+flow.WriteFile(t, dir, "hup.sh", `
[ "$1 $2" != "put a" ] || kill -HUP $PPID
exec dash `+deploy+`/node.sh "$@"
`))
		}},
	} {
		cmd := s.command([]string{"upgrade", build(t, "v3", "")})
		c.cmd(cmd)
		if cmd.Stdout == nil {
			said, _ := flow.Run(t, cmd)
			if !strings.Contains(said, "with the new version: a; with what it had: b; continue or rollback") {
				t.Errorf("%s: it says %q", c.what, said)
			}
		} else {
			_ = cmd.Run()
		}
		if code := cmd.ProcessState.ExitCode(); code != 9 {
			t.Errorf("%s: exit code %d, want 9", c.what, code)
		}
		said := s.release(1, "nobody goes on", "status", "")
		if strings.Contains(said, "taken a") && !strings.Contains(said, "new a") {
			t.Errorf("%s: a's turn has not ended", c.what)
		}
		s.release(0, "rolled back", "rollback", "")
		s.runs("v2", "v2")
	}
}

// TestCutOff: a release, and the way back, go on over what a stop had to cut off or to kill. They say so by a code.
func TestCutOff(t *testing.T) {
	s := newSite(t, "a", "-drain-timeout", "1s")
	drain := flow.WriteFile(t, flow.Dir(t), "app.env", "APP_PULL_MIN=0s\n")
	s.start("v1")
	hold := func() net.Conn {
		conn, err := net.Dial("tcp", s.nodes[0].Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		fmt.Fprintf(conn, "POST /echo HTTP/1.1\r\nHost: app\r\nContent-Length: 6\r\n\r\nbat")
		flow.Eventually(t, "the request is in flight", func() bool { return s.nodes[0].Status().Open.Active > 0 })
		return conn
	}
	// New settings: the node is restarted.
	hold()
	s.release(8, "cut requests off at a", "upgrade", build(t, "v2", ""), "SETTINGS="+drain)
	s.runs("v2")
	hold()
	s.release(8, "cut requests off at a", "rollback", "")
	s.runs("v1")
}

// TestOtherUsers: a process that one may not signal is alive, and no clock that somebody sets ends a wait.
func TestOtherUsers(t *testing.T) {
	t.Parallel()
	flow.Root(t)
	setpriv := flow.Tool(t, "setpriv", "apt-get install util-linux")
	common, err := os.ReadFile(deploy + "/common.sh") // which others may not be able to read
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "dash", "-c",
		string(common)+"\nalive 1 && ! alive 4194303 && within 1 true")
	if said, code := flow.Run(t, cmd); code != 0 {
		t.Errorf("exit code %d: %s", code, said)
	}
	dir := t.TempDir()
	date := flow.WriteFile(t, dir, "date", "#!/bin/sh\necho 5\n") // a clock that stands
	if err := os.Chmod(date, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("dash", "-c", ". "+deploy+"/common.sh; within 1 false")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	if _, code := flow.Run(t, cmd); code != 1 {
		t.Errorf("within: exit code %d, want 1", code)
	}
}

// TestFlockOfBusybox: it knows no -w.
func TestFlockOfBusybox(t *testing.T) {
	s := newSite(t, "a")
	flock := s.path("flock", `
for arg; do
	case $arg in -[sxun] | [0-9]) ;; *) echo "flock: invalid option $arg" >&2; exit 1 ;; esac
done
exec REAL "$@"
`)
	s.start("v1")
	// A step that goes on after its release is gone.
	repair := filepath.Join(s.t.TempDir(), "said")
	s.release(-1, "", "upgrade", build(t, "v2", ""), flock, s.at("before", "put a",
		s.killed()+"; until grep -q 'waiting for it' "+repair+" 2>/dev/null; do sleep 0.1; done"))
	s.repaired(repair, flock)
	s.runs("v2")
}

// repaired continues, while what it says stands in a file; it has waited for the last step.
func (s *site) repaired(file string, env ...string) {
	s.t.Helper()
	cmd := s.command([]string{"continue"}, append(env, "STEP_TIMEOUT=60")...)
	out, err := os.Create(file)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	said, _ := os.ReadFile(file)
	if !strings.Contains(string(said), "waiting for it") || err != nil {
		flow.WriteFile(s.t, filepath.Dir(file), filepath.Base(file), "waiting for it") // the step is to end
		s.t.Fatalf("continue: %v, want 0, and that it waits for the last step:\n%s", err, said)
	}
}

// TestLeftRunning: what ssh leaves running, as the master of a shared connection, does not keep the next release away.
func TestLeftRunning(t *testing.T) {
	s := newSite(t, "a")
	once := filepath.Join(t.TempDir(), "once") // what is left running ends with this folder
	on := s.elsewhere("if mkdir " + once + " 2>/dev/null; then " +
		"{ while [ -d " + once + " ]; do sleep 0.1; done; } >/dev/null 2>&1 & fi\n")
	s.release(0, "complete", "upgrade", build(t, "v1", ""), on...)
	s.release(0, "complete", "upgrade", build(t, "v2", ""), append(on, "STEP_TIMEOUT=1")...)
}
