//go:build linux

package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

const (
	lib  = "/usr/local/lib/app/" // where README.md puts the scripts
	node = "/etc/app/app"        // likewise
)

// settings are those that README.md exports.
var settings = []string{"NODES=app", "METHOD=swap", "SITE=/etc/app", "STATE=/var/lib/app.release"}

// newReleased is a bed with the unit and the scripts, in which nothing has been released yet.
func newReleased(t *testing.T, conf ...string) *bed {
	t.Helper()
	b := bareBed(t)
	scripts, err := filepath.Glob("../../deploy/*.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range append(scripts, "../../deploy/systemd/unit.sh") {
		b.put(script, lib+filepath.Base(script))
	}
	b.put(build(t, "v1", ""), operator)
	b.put("../../deploy/systemd/app.node", node)
	b.put("../../deploy/systemd/app.service", units+"app.service")
	b.put("../../deploy/systemd/releases.conf", dropIn+"releases.conf")
	b.conf(append(conf, "Environment=APP_PROBATION=100ms")...)
	return b
}

// file puts a build into the bed, and returns its path there.
func (b *bed) file(version, fault string) string {
	b.t.Helper()
	path := "/srv/" + version + fault
	b.put(build(b.t, version, fault), path)
	return path
}

// command is release.sh in the bed.
func (b *bed) command(args ...string) []string {
	return append(append(append([]string{"run", "env"}, settings...), "sh", lib+"release.sh"), args...)
}

// release runs release.sh, and wants an exit code and words.
func (b *bed) release(code int, words string, args ...string) string {
	b.t.Helper()
	out, got := b.bed(b.command(args...)...)
	b.t.Logf("release.sh %s: %d\n%s", strings.Join(args, " "), got, out)
	if got != code || !strings.Contains(out, words) {
		b.t.Fatalf("release.sh %s: exit code %d, want %d and %q", strings.Join(args, " "), got, code, words)
	}
	return out
}

// TestRelease: releases, and the way back, lose nothing. What release.sh and systemctl say runs is what answers.
func TestRelease(t *testing.T) {
	b := newReleased(t)
	v1, v2 := b.file("v1", ""), b.file("v2", "")
	b.release(0, "complete", "upgrade", v1)
	b.serves(1, "v1")
	load := b.load(16, 2)
	began := time.Now()
	b.release(0, "complete", "upgrade", v2)
	pid := b.serves(2, "v2")
	load.Flows(100)
	b.release(0, "nothing to do", "upgrade", v2)
	if got := b.serves(2, "v2"); got != pid {
		t.Errorf("pid %s serves after the same release, want %s", got, pid)
	}
	b.release(0, "rolled back", "rollback")
	pid = b.serves(3, "v1")
	load.Flows(100)
	load.Report("systemd", "`release.sh`: upgrade, the same again, rollback", time.Since(began))
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d connections were closed", n)
	}

	b.release(0, "app: version v1 pid "+pid+" generation 3 ready release 1", "status")
	out := b.run("env", "SITE=/etc/app", "NODE=app", "sh", lib+"unit.sh", "status")
	if want := "running: pid " + pid + ", generation 3, ready, version v1"; !strings.Contains(out, want) {
		t.Errorf("unit.sh status says %q, want %q", out, want)
	}
	if out := b.ctl(0, "status", "app"); !strings.Contains(out, "generation 3, version v1,") {
		t.Errorf("systemctl status says no version:\n%s", out)
	}
	b.stopDrains()
	out, code := b.bed("run", "env", "SITE=/etc/app", "NODE=app", "sh", lib+"unit.sh", "status")
	if code != 3 {
		t.Errorf("unit.sh status of a unit that was stopped: %d, %s", code, out)
	}
	b.release(0, "complete", "upgrade", v2) // starts it
	b.serves(1, "v2")
	b.gentle()
}

// TestReleaseBroken: a version that fails gives its place back to the old file, and so no later crash starts it.
func TestReleaseBroken(t *testing.T) {
	b := newReleased(t, "Environment=APP_SWAP_TIMEOUT=3s")
	b.release(0, "complete", "upgrade", b.file("v1", ""))
	pid := b.serves(1, "v1")
	began := time.Now()
	load := b.load(16, 2)
	for _, fault := range []string{"crash", "check", "hang"} {
		b.release(1, "app failed, and has its old version back", "upgrade", b.file("bad", fault))
		if got := b.serves(1, "v1"); got != pid {
			t.Fatalf("%s: pid %s serves, want %s", fault, got, pid)
		}
		b.release(1, "continue or rollback", "status")
		b.release(0, "rolled back", "rollback")
		if got := b.serves(1, "v1"); got != pid {
			t.Fatalf("%s: pid %s serves after the rollback, want %s", fault, got, pid)
		}
		load.Flows(100)
	}
	load.Report("systemd", "`release.sh`: three versions that fail: crash, check, never ready", time.Since(began))

	// More crashes than systemd bears by default, and then by a file that can't start at all.
	for range 7 {
		b.run("kill", "-9", pid)
		b.restarted(pid)
		pid = b.serves(1, "v1")
	}
	to := strings.TrimSpace(b.run("readlink", "-f", app))
	b.run("mv", to, to+".away")
	b.run("kill", "-9", pid)
	b.eventually("systemd has tried many times", func() bool { return len(b.show("NRestarts")) > 1 })
	b.run("mv", to+".away", to)
	b.restarted(pid)
	b.serves(1, "v1")
}

// TestReleaseInterrupted: whatever comes of a release that is left in the middle, a crash after it starts what was
// live. Meanwhile no other release has the node. The next run puts things right.
func TestReleaseInterrupted(t *testing.T) {
	b := newReleased(t, "Environment=APP_SWAP_TIMEOUT=15s")
	v1, v2, hang := b.file("v1", ""), b.file("v2", ""), b.file("bad", "hang")
	b.release(0, "complete", "upgrade", v1)
	pid := b.serves(1, "v1")
	load := b.load(8, 2)

	// A Ctrl-C reaches all of them.
	p := b.inTheMiddle(hang)
	b.release(7, "a release runs already", "upgrade", v2)
	b.release(7, "a release runs: ", "status")
	p.interrupt("INT")
	if code := p.code(); code != 9 {
		t.Errorf("after a Ctrl-C: exit code %d, want 9\n%s", code, p.Output())
	}
	if got := b.serves(1, "v1"); got != pid {
		t.Fatalf("pid %s serves, want %s", got, pid)
	}
	b.release(1, "nobody goes on", "status")
	b.release(0, "rolled back", "rollback")
	load.Lossless()

	// All is killed: nobody is left to put the old file back but the unit.
	p = b.inTheMiddle(hang)
	p.interrupt("KILL")
	p.code()
	if to := b.run("readlink", app); !strings.Contains(to, "/app") || strings.Contains(to, ".releases/1/") {
		t.Fatalf("%s links to %s: the test has not interrupted anything", app, to)
	}
	b.run("kill", "-9", pid)
	b.restarted(pid)
	pid = b.serves(1, "v1")
	if !b.says("never was live and well") {
		t.Error("the journal of the unit does not say why the old version was started")
	}
	b.release(1, "nobody goes on", "status")
	b.release(0, "rolled back", "rollback")
	if got := b.serves(1, "v1"); got != pid {
		t.Errorf("the rollback has touched what ran already")
	}
	b.release(0, "complete", "upgrade", v2)
	b.serves(2, "v2")
}

// TestReleaseFirst: a first version that can't start leaves nothing that systemd tries again and again. A unit that
// systemd has given up is started by the next release.
func TestReleaseFirst(t *testing.T) {
	b := newReleased(t)
	b.ctl(0, "enable", "app") // and so systemd does not forget how it ended
	b.release(1, "app failed", "upgrade", b.file("bad", "crash"))
	if state := b.show("ActiveState"); state != "inactive" && state != "failed" {
		t.Errorf("the unit is %s", state)
	}
	// What has failed to start had nothing that its stop could cut off.
	if out, code := b.bed("run", "env", "SITE=/etc/app", "NODE=app", "sh", lib+"unit.sh", "stop"); code != 0 {
		t.Errorf("unit.sh stop of what has failed to start: %d, %s", code, out)
	}
	b.release(0, "rolled back", "rollback")

	limit := flow.WriteFile(t, t.TempDir(), "limit.conf", "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=2\n")
	b.put(limit, dropIn+"limit.conf")
	b.ctl(0, "daemon-reload")
	b.put(build(t, "bad", "crash"), app)
	b.ctl(1, "start", "app")
	b.eventually("systemd gives up", func() bool { return b.says("Start request repeated too quickly") })
	b.release(0, "complete", "upgrade", b.file("v1", ""))
	b.serves(1, "v1")
}

// TestReleaseSettings: settings are part of a release, and of the way back. A cut-off request has its own code.
func TestReleaseSettings(t *testing.T) {
	b := newReleased(t)
	v1, v2 := b.file("v1", ""), b.file("v2", "")
	b.release(0, "complete", "upgrade", v1)
	environ := func() string {
		return b.run("sh", "-c", `tr '\0' '\n' <"/proc/$1/environ"`, "sh", b.serves(1, b.whoami().Version))
	}
	if strings.Contains(environ(), "APP_DRAIN_TIMEOUT") {
		t.Fatal("the settings are there before they are released")
	}
	const words = `a "$b" \c`
	b.put(flow.WriteFile(t, t.TempDir(), "env", "APP_DRAIN_TIMEOUT='1s' # short\nAPP_WORDS='"+words+"'\n"), "/srv/env")
	settings := "SETTINGS=/srv/env"
	out, code := b.bed(append([]string{"run", "env", settings}, b.command("upgrade", v2)[2:]...)...)
	if code != 0 || !strings.Contains(out, "complete") {
		t.Fatalf("with settings: %d\n%s", code, out)
	}
	if env := environ(); !strings.Contains(env, "APP_DRAIN_TIMEOUT=1s\n") ||
		!strings.Contains(env, "APP_WORDS="+words+"\n") {
		t.Errorf("the environment of the service:\n%s", env)
	}
	pid := b.serves(1, "v2")
	b.run("kill", "-9", pid)
	b.restarted(pid)
	if env := environ(); !strings.Contains(env, "APP_DRAIN_TIMEOUT=1s\n") {
		t.Errorf("after a crash it has other settings:\n%s", env)
	}
	b.hold()
	b.release(8, "cut requests off at app", "rollback")
	if strings.Contains(environ(), "APP_DRAIN_TIMEOUT") {
		t.Error("the settings have not gone back")
	}
	b.serves(1, "v1")
}

// begun is a release in the bed, whose processes are a group of their own.
type begun struct {
	*flow.Process
	b *bed
}

// inTheMiddle begins a release of what never gets ready, and returns when its swap is under way.
func (b *bed) inTheMiddle(file string) begun {
	b.t.Helper()
	cmd := exec.Command("../../deploy/systemd/bed.sh", append([]string{"run", "setsid", "-w", "sh", "-c",
		`echo $$ >/run/release.pid && exec "$@"`, "sh"}, b.command("upgrade", file)[1:]...)...)
	cmd.Env = append(os.Environ(), b.env...)
	p := begun{flow.Start(b.t, cmd), b}
	b.eventually("a swap is under way", func() bool {
		out, code := b.bed("run", app+".releases/1/app", "-s", "status", "-control", control)
		return code == 0 && strings.Contains(out, `"phase":"swapping"`)
	})
	return p
}

// interrupt signals the scripts and what they wait for, as a terminal does with its foreground.
func (p begun) interrupt(signal string) {
	p.b.t.Helper()
	p.b.run("sh", "-c", `kill -s "$1" -- "-$(cat /run/release.pid)"`, "sh", signal)
}

// code waits for the end.
func (p begun) code() int {
	p.b.t.Helper()
	select {
	case <-p.Ended():
	case <-time.After(2 * patience):
		p.b.t.Fatalf("the release does not end\n%s", p.Output())
	}
	return p.ProcessState.ExitCode()
}
