//go:build linux

package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/examples/internal/flow"
)

// restarts: what each policy does when the container ends, and that a swap is no end.
func restarts(t *testing.T, s *site) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	without := strings.Replace(string(text), "STOPSIGNAL SIGTERM\n", "", 1)
	s.Image("without", without, map[string]string{"app": flow.Static(t, "gin", "v1", "")})
	for _, p := range []struct {
		policy, option, image string
		exit                  bool // it starts again after exit code 0
		crash                 bool // and after a crash
		signalled             bool // and after a crash, when a signal has been sent by docker kill before
	}{
		{"no", "", "app", false, false, false},
		{"on-failure", "", "app", false, true, true},
		{"always", "", "app", true, true, true},
		{"unless-stopped", "", "app", true, true, false},
		{"always", "--init", "app", true, true, true},
		{"always", "", "without", true, true, false},
		{"on-failure", "", "without", false, true, false},
	} {
		t.Run(p.policy+p.option+"-"+p.image, func(t *testing.T) {
			t.Parallel()
			s := &site{t, s.Of(t)}
			c := s.container(p.policy+p.option+"-"+p.image, p.image, "--restart", p.policy, p.option)
			const field = ".State.Status}} {{.State.StartedAt"
			swap := func(by ...string) {
				t.Helper()
				before := c.inspect(field)
				c.put("v2", "")
				c.Docker(by...)
				c.serves("v2", 2)
				if now := c.inspect(field); now != before {
					t.Errorf("a swap: the container was %s, and is %s", before, now)
				}
			}
			after := func(what string, again bool, code string, do func()) {
				t.Helper()
				before := c.inspect(field)
				do()
				status := ""
				flow.Eventually(t, what+": it has ended", func() bool {
					time.Sleep(50 * time.Millisecond) // a docker takes its time
					now := c.inspect(field)
					status, _, _ = strings.Cut(now, " ")
					return status == "exited" || status == "running" && now != before
				})
				if started := status == "running"; started != again {
					t.Errorf("%s: it has started again: %v, want %v", what, started, again)
				}
				if status == "exited" {
					if got := c.inspect(".State.ExitCode"); got != code {
						t.Errorf("%s: exit code %s, want %s\n%s", what, got, code,
							c.Docker("logs", "--tail", "30", c.name))
					}
					c.Docker("start", c.name)
				}
				c.serves("v2", 1)
			}
			swap("exec", c.name, "/srv/app", "-s", "reload")
			after("crash", p.crash, "137", c.crash)
			after("-s stop", p.exit, "0", func() { _, _ = c.Run("exec", c.name, "/srv/app", "-s", "stop") })
			after("docker kill -s TERM", false, "0", func() { c.Docker("kill", "-s", "TERM", c.name) })
			after("docker stop", false, "0", func() { c.Docker("stop", "-t", "40", c.name) })
			swap("kill", "-s", "HUP", c.name)
			after("crash after docker kill -s HUP", p.signalled, "137", c.crash)
		})
	}
}

// starts: what start makes of a container that does not run, or ends again and again.
func starts(t *testing.T, s *site) {
	crash, before := flow.Static(t, "", "v4", "crash"), "bin/app.before"
	// What the engine could not start is not what the next one starts.
	first := &container{site: s, name: "first", dir: filepath.Join(s.Dir, "first")}
	first.do(1, "start", "RUN_ARGS=--device /nowhere")
	first.do(0, "start", "RUN_ARGS=--restart no")
	first.do(0, "stop")
	s.Docker("rm", first.name)
	first.do(5, "start", "IMAGE=nowhere.test/app")

	c := s.container("loops", "app", "--restart", "unless-stopped")
	loops := func() {
		t.Helper()
		flow.Deploy(t, crash, filepath.Join(c.dir, "bin", "app"))
		c.crash()
		c.eventually(".State.Status", "restarting")
	}
	// A kill -9 of a swap has left the new program, and a crash of the old one has started it.
	flow.Deploy(t, flow.Static(t, "gin", "v1", ""), filepath.Join(c.dir, before))
	loops()
	c.do(0, "start")
	c.serves("v1", 1)
	if _, err := os.Stat(filepath.Join(c.dir, before)); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", before, err)
	}
	// Without a way back it goes on trying, as before, and starts what is put there.
	loops()
	if said := c.do(1, "start"); !strings.Contains(said, "loops does not serve") {
		t.Errorf("start of a program that crashes says %s", said)
	}
	c.eventually(".State.Status", "restarting")
	c.do(1, "status")
	// Nor is what crashes kept as the way back from what is put there next.
	if said := c.do(1, "swap "+crash); !strings.Contains(said, "does not serve, as before, and is in its place again") {
		t.Errorf("a swap of what crashes, to what crashes, says %s", said)
	}
	does := func(command, version string) {
		t.Helper()
		c.do(0, command)
		if said := c.do(0, "status"); !strings.HasPrefix(said, "version "+version+", ready, ") {
			t.Fatalf("after %s it is %s", command, said)
		}
	}
	v1, v2 := flow.Static(t, "gin", "v1", ""), flow.Static(t, "gin", "v2", "")
	does("swap "+v1, "v1")
	does("swap "+v2, "v2")
	loops()
	does("rollback", "v1")
	loops()
	c.do(155, "stop")
	does("swap "+v2, "v2")
	// What lies there by hand, and failed, can't ask.
	flow.Deploy(t, "Dockerfile", filepath.Join(c.dir, "bin", "app"))
	c.do(0, "start")
	does("swap "+v1, "v1")
	c.do(0, "stop")
}

// inits: behind an init, what lies in the folder asks the service. Where that can't, the service still serves.
func inits(t *testing.T, s *site) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	inside := strings.Replace(string(text), `ENTRYPOINT ["/srv/app"]`,
		"COPY init /\nENTRYPOINT [\"/init\", \"--\", \"/srv/app\"]", 1)
	s.Image("inside", inside, map[string]string{
		"app": flow.Static(t, "gin", "v1", ""), "init": flow.Tool(t, "docker-init", "apt-get install docker.io"),
	})
	const user = 1000
	crash, v2 := flow.Static(t, "", "v4", "crash"), flow.Static(t, "gin", "v2", "")
	for name, c := range map[string]struct{ image, args string }{
		"option": {"app", "--init"},
		"image":  {"inside", "--restart no"}, // none at all would publish the port of another test
		"user":   {"app", fmt.Sprintf("--init --user %d -e APP_CONTROL=/run/app/own", user)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &site{t, s.Of(t)}
			if run := filepath.Join(s.Dir, "init-"+name, "run"); name == "user" {
				if err := errors.Join(os.MkdirAll(run, 0o755), os.Chown(run, user, user)); err != nil {
					t.Fatal(err)
				}
			}
			c := s.container("init-"+name, c.image, c.args)
			app := filepath.Join(c.dir, "bin", "app")
			for what, spoil := range map[string]func(){
				"crashes":       func() { flow.Deploy(t, crash, app) },
				"is no program": func() { flow.Deploy(t, "Dockerfile", app) },
				"is gone":       func() { _ = os.Remove(app) },
			} {
				spoil()
				c.do(0, "start")
				if said := c.do(0, "status"); !strings.HasPrefix(said, "version v1, ready, generation 1\n") {
					t.Errorf("what lies there %s, and docker.sh status says %s", what, said)
				}
			}
			flow.Deploy(t, "Dockerfile", app)
			if said := c.do(1, "swap "+crash); !strings.Contains(said, "the old program serves on") {
				t.Errorf("where what lies there can't ask, a swap that fails says %s", said)
			}
			c.do(0, "swap "+v2)
			if said := c.do(0, "status"); !strings.HasPrefix(said, "version v2, ready, generation ") {
				t.Errorf("swapped to v2, docker.sh status says %s", said)
			}
			c.do(0, "stop")
		})
	}
}

// crash kills the main generation, which is not the container's first process.
func (c *container) crash() {
	c.t.Helper()
	st, err := drain.Client{Socket: filepath.Join(c.dir, "run", "control")}.Status(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	// The end of the first process may end this one, too.
	_ = c.Inside("nsenter", "-t", c.inspect(".State.Pid"), "-p", "--", "kill", "-9", strconv.Itoa(st.PID)).Run()
}
