//go:build linux

// Package systemd runs the example service under a real systemd, by the units of ../../deploy/systemd just as they
// are, and drives it with systemctl while clients outside ask.
package systemd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

const (
	addr     = "127.0.0.1:8080"       // as in the units
	app      = "/usr/local/bin/app"   // likewise
	control  = "/run/app/control"     // likewise
	operator = "/usr/local/bin/op"    // the first version, for commands to whatever has come after it
	units    = "/etc/systemd/system/" // where an operator puts them
	dropIn   = units + "app.service.d/"
	patience = flow.Patience
)

func TestMain(m *testing.M) { flow.Main(m) }

// build returns a build of ../../gin, made once for all tests.
func build(t *testing.T, version, fault string) string {
	t.Helper()
	return flow.Build(t, "gin", version, fault)
}

// missing skips the test; where CI is set it fails it.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why + ", and CI is set")
	}
	t.Skip(why)
}

// bed is a running systemd, with app.service installed and version v1 deployed.
type bed struct {
	t   *testing.T
	env []string
	net *flow.Namespace
}

func newBed(t *testing.T, env ...string) *bed {
	t.Helper()
	b := bareBed(t, env...)
	b.put("../../deploy/systemd/app.service", units+"app.service")
	b.deploy(build(t, "v1", ""))
	b.run("ln", app, operator)
	b.ctl(0, "daemon-reload")
	return b
}

// bareBed is a running systemd, and nothing more.
func bareBed(t *testing.T, env ...string) *bed {
	t.Helper()
	t.Parallel()
	dir, err := os.MkdirTemp("", "bed")
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, env: append(env, "BED="+dir, fmt.Sprintf("BED_OWNER=%d", os.Getpid()))}
	t.Cleanup(func() {
		if b.net != nil {
			logs, _ := b.bed("logs", "app")
			if strings.Contains(logs, "DATA RACE") {
				t.Error("the service has a data race")
			}
			if t.Failed() {
				all, _ := b.bed("logs")
				t.Logf("the journal:\n%s", all)
			}
		}
		if out, code := b.bed("down"); code != 0 {
			t.Errorf("bed.sh down: %d, %s", code, out)
		}
		_ = os.RemoveAll(dir)
	})
	const here = 77 // bed.sh's exit code where a machine can't
	if out, code := b.bed("up"); code == here {
		missing(t, out)
	} else if code != 0 {
		t.Fatalf("bed.sh up: %d, %s", code, out)
	}
	pid, _ := b.bed("pid")
	b.net = flow.OpenNamespace(t, "/proc/"+strings.TrimSpace(pid)+"/ns/net")
	return b
}

// bed runs bed.sh, and returns what it said and its exit code.
func (b *bed) bed(args ...string) (string, int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "../../deploy/systemd/bed.sh", args...)
	cmd.Env = append(os.Environ(), b.env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) && !errors.Is(err, exec.ErrWaitDelay) {
		b.t.Errorf("bed.sh %v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (b *bed) put(file, path string) {
	b.t.Helper()
	if out, code := b.bed("put", file, path); code != 0 {
		b.t.Fatalf("bed.sh put %s %s: %d, %s", file, path, code, out)
	}
}

// deploy does what the operator's README says: the file is replaced by rename.
func (b *bed) deploy(build string) {
	b.t.Helper()
	b.put(build, app)
}

// conf adds lines to the service's section of the unit, before it runs.
func (b *bed) conf(lines ...string) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "conf")
	if err := os.WriteFile(file, []byte("[Service]\n"+strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.put(file, dropIn+"test.conf")
	b.ctl(0, "daemon-reload")
}

// run runs a command in the bed that must succeed.
func (b *bed) run(args ...string) string {
	b.t.Helper()
	out, code := b.bed(append([]string{"run"}, args...)...)
	if code != 0 {
		b.t.Fatalf("%v: exit code %d\n%s", args, code, out)
	}
	return out
}

// ctl runs systemctl; code is the exit code that it must have, -1 for any but 0.
func (b *bed) ctl(code int, args ...string) string {
	b.t.Helper()
	out, got := b.bed(append([]string{"run", "systemctl"}, args...)...)
	if got != code && (code >= 0 || got == 0) {
		b.t.Fatalf("systemctl %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return out
}

// begin runs systemctl in the background; the function returned waits for its end, which must be a success.
func (b *bed) begin(args ...string) (end func()) {
	done := make(chan struct{})
	var out string
	var code int
	go func() {
		defer close(done)
		out, code = b.bed(append([]string{"run", "systemctl"}, args...)...)
	}()
	return func() {
		b.t.Helper()
		<-done
		if code != 0 {
			b.t.Fatalf("systemctl %s: exit code %d\n%s", strings.Join(args, " "), code, out)
		}
	}
}

// show is a property of app.service.
func (b *bed) show(property string) string {
	b.t.Helper()
	return strings.TrimSpace(b.ctl(0, "show", "app.service", "--value", "-p", property))
}

// serves asserts that the unit is up, not in the middle of anything, and that its main process is the one that answers,
// once the old one has answered those who had come to it before. It returns that one's pid.
func (b *bed) serves(generation int, version string) string {
	b.t.Helper()
	state := map[string]string{}
	for line := range strings.Lines(b.ctl(0, "show", "app.service", "-p", "ActiveState,SubState,MainPID")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		state[name] = value
	}
	if state["ActiveState"] != "active" || state["SubState"] != "running" {
		b.t.Fatalf("%v, want active, running", state)
	}
	main := state["MainPID"]
	var who identity
	b.eventually("the main process "+main+" answers", func() bool { who = b.whoami(); return who.pid() == main })
	if who.Generation != generation || who.Version != version {
		b.t.Fatalf("generation %d, version %s answers, want %d, %s", who.Generation, who.Version, generation, version)
	}
	return main
}

// status is what the control socket says, asked by root as an operator would.
func (b *bed) status() (st struct{ Phase string }) {
	b.t.Helper()
	out := b.run(operator, "-s", "status", "-control", control)
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		b.t.Fatalf("-s status: %v\n%s", err, out)
	}
	return st
}

// says tells whether these words are in the service's journal.
func (b *bed) says(words string) bool {
	logs, _ := b.bed("logs", "app")
	return strings.Contains(logs, words)
}

// draining waits until the main process takes nothing new.
func (b *bed) draining() {
	b.t.Helper()
	b.eventually("the service drains", func() bool { return b.status().Phase == "draining" })
}

// swapping begins a reload, by a command or a signal, that does not end by itself.
func (b *bed) swapping(command ...string) {
	b.t.Helper()
	b.deploy(build(b.t, "bad", "hang"))
	b.run(command...)
	b.eventually("a swap is under way", func() bool {
		return strings.HasPrefix(b.show("SubState"), "reload") && // reload-notify, to a newer systemd
			b.status().Phase == "swapping"
	})
	b.deploy(build(b.t, "v1", ""))
}

var killing = regexp.MustCompile(`Killing process (\d+) \(\S+\) with signal SIGKILL`)

// gentle asserts that nobody was killed or cut off. A process that has stopped by itself may be killed:
// systemd does that to a main process that is not its child, and that it has not yet seen go.
func (b *bed) gentle() {
	b.t.Helper()
	logs, _ := b.bed("logs", "app")
	for _, w := range []string{"Main process exited, code=killed", "timed out", "cut off"} {
		if strings.Contains(logs, w) {
			b.t.Errorf("the journal of the unit says %q", w)
		}
	}
	for _, m := range killing.FindAllStringSubmatchIndex(logs, -1) {
		before, pid := logs[:m[0]], logs[m[2]:m[3]]
		if !regexp.MustCompile(`app\[` + pid + `\]: .* msg=(stopped|swapped) `).MatchString(before) {
			b.t.Errorf("the journal of the unit says %q, and not before that it has stopped", logs[m[0]:m[1]])
		}
	}
}

// eventually waits for a fact. A look may start ten processes: the longer it takes, the fewer there are.
func (b *bed) eventually(what string, fact func() bool) {
	b.t.Helper()
	for begun := time.Now(); !fact(); time.Sleep(50*time.Millisecond + time.Since(begun)/10) {
		if time.Since(begun) > patience {
			b.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// dial connects to the service from this process, through the bed's network.
func (b *bed) dial() (net.Conn, error) { return b.net.Dial(addr) }
