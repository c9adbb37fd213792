//go:build linux

package docker

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

// site is an engine with the image of the folder's Dockerfile.
type site struct {
	t *testing.T
	*flow.Engine
}

func newSite(t *testing.T) *site {
	s := &site{t, flow.NewEngine(t)}
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	s.Image("app", string(text), map[string]string{"app": flow.Static(t, "gin", "v1", "")})
	return s
}

// container is one that docker.sh has started.
type container struct {
	*site
	name, dir string
	published bool
}

func (s *site) container(name, image string, args ...string) *container {
	c := &container{site: s, name: name, dir: filepath.Join(s.Dir, name)}
	c.do(0, "start", "IMAGE="+image, "RUN_ARGS="+strings.Join(args, " "))
	return c
}

// addr is the container's own, or that of the published port. It has another one with each start.
func (c *container) addr() string {
	if c.published {
		return c.inspect(".NetworkSettings.Gateway") + ":8080"
	}
	return c.inspect(".NetworkSettings.IPAddress") + ":8080"
}

// do runs docker.sh, which must exit with want.
func (c *container) do(want int, command string, env ...string) string {
	c.t.Helper()
	busybox := flow.Tool(c.t, "busybox", "apt-get install busybox")
	cmd := c.Command(busybox, append([]string{"sh", "docker.sh"}, strings.Fields(command)...)...)
	cmd.Env = append(append(cmd.Env, "NAME="+c.name, "DIR="+c.dir), env...)
	said, code := flow.Run(c.t, cmd)
	if code != want {
		c.t.Fatalf("%s: docker.sh %s: exit code %d, want %d\n%s", c.name, command, code, want, said)
	}
	return said
}

func (c *container) inspect(field string) string {
	c.t.Helper()
	return c.Inspect(c.name, field)
}

func (c *container) eventually(field, want string) {
	c.t.Helper()
	flow.Eventually(c.t, c.name+": "+field+" is "+want, func() bool { return c.inspect(field) == want })
}

// get asks the service, on a connection of its own.
func (c *container) get(path string) (string, error) {
	addr := c.addr()
	client := draintest.Client{Addr: addr, Dial: c.Dialer(addr), Timeout: flow.Patience}
	defer client.Close()
	answer, err := client.Do("GET", path, nil)
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("%s: %d", path, answer.Status)
	}
	return string(answer.Body), err
}

// serves asks the control socket, which is on the host too.
func (c *container) serves(version string, generation int) (st drain.Status) {
	c.t.Helper()
	flow.Eventually(c.t, fmt.Sprintf("%s serves %s as generation %d", c.name, version, generation), func() bool {
		st = c.status()
		return st.Version == version && st.Generation == generation && st.Phase == drain.Ready
	})
	return st
}

func (c *container) status() drain.Status {
	st, _ := drain.Client{Socket: filepath.Join(c.dir, "run", "control")}.Status(context.Background())
	return st
}

// put has the next swap start another build: the folder is a volume of the container.
func (c *container) put(version, fault string) {
	c.t.Helper()
	flow.Deploy(c.t, flow.Static(c.t, "gin", version, fault), filepath.Join(c.dir, "bin", "app"))
}

// TestDocker asks one engine for all.
func TestDocker(t *testing.T) {
	s := newSite(t)
	for name, test := range map[string]func(*testing.T, *site){
		"swap": swaps, "restart": restarts, "source": fromSource, "start": starts, "init": inits,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, &site{t, s.Of(t)})
		})
	}
}

// swaps: by the signal, and by docker.sh, whose failed swap is no swap.
func swaps(t *testing.T, s *site) {
	c := s.container("app", "app", "-p", "8080:8080", "--restart", "unless-stopped", "--health-interval", "500ms")
	c.published = true
	c.serves("v1", 1)
	c.eventually(".State.Health.Status", "healthy")

	addr := c.addr()
	load := flow.NewLoadBy(t, c.Dialer(addr), addr, 6, 3)
	start := time.Now()
	c.put("v2", "")
	c.Docker("kill", "-s", "HUP", c.name)
	c.serves("v2", 2)
	c.do(0, "swap "+flow.Static(t, "gin", "v3", ""))
	c.serves("v3", 3)
	if said := c.do(1, "swap "+flow.Static(t, "", "v4", "crash")); !strings.Contains(said, "exit status 3") {
		t.Errorf("docker.sh swap does not say why: %s", said)
	}
	c.serves("v3", 3)
	full := c.Command("busybox", "sh", "-c", "trap '' XFSZ; ulimit -f 0; exec sh docker.sh swap "+
		flow.Static(t, "gin", "v1", "")) // finds no room for a byte
	full.Env = append(full.Env, "NAME="+c.name, "DIR="+c.dir)
	said, _ := full.CombinedOutput()
	if code := full.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(said), "make room there") {
		t.Errorf("a swap on a full disk: exit code %d, want 1 and the cure: %s", code, said)
	}
	if got, _ := filepath.Glob(c.dir + "/bin/*"); len(got) != 2 { // app and app.old
		t.Errorf("a swap on a full disk has left %v", got)
	}
	c.serves("v3", 3)
	took := time.Since(start)
	load.Flows(50)
	load.Lossless()
	load.Report("Docker", "`docker kill -s HUP`, then two of `docker.sh swap`, of which one fails", took)

	// A pull is no ill health, and what is not in the volume is not run.
	c.Docker("kill", "-s", "USR2", c.name)
	flow.Eventually(t, "a health check has seen the pull", func() bool {
		return strings.Contains(c.inspect("json .State.Health.Log"), "pulled, generation 3")
	})
	if got := c.inspect(".State.Health.Status"); got != "healthy" {
		t.Errorf("pulled, it is %s", got)
	}
	c.Docker("kill", "-s", "USR1", c.name)
	flow.Eventually(t, "the end of the pull", func() bool {
		return strings.Contains(c.do(0, "status"), "ready, generation 3")
	})

	// What a rollback leads to is the same when the first one was killed.
	killed := flow.WriteFile(t, t.TempDir(), "docker", "#!/bin/sh\ncase $* in *reload) kill -9 $PPID ;; esac\n"+
		"exec docker \"$@\"\n")
	if err := os.Chmod(killed, 0o755); err != nil {
		t.Fatal(err)
	}
	c.do(-1, "rollback", "DOCKER="+killed)
	flow.Eventually(t, "what the killed one has begun has ended", func() bool {
		lock, err := os.Open(c.dir + "/lock")
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	})
	c.do(0, "rollback")
	if said := c.do(0, "status"); !strings.Contains(said, "version v2,") {
		t.Errorf("rolled back twice, since once it was killed: %s", said)
	}
	c.do(5, "rollback")
	for _, command := range []string{"stop", "status"} {
		c.do(6, command, "DOCKER=false") // which is no engine that answers
	}
	c.do(0, "swap "+flow.Static(t, "gin", "v3", ""))
	generation := c.status().Generation

	// A stop ends what has begun, and is no crash.
	slow := make(chan error, 1)
	go func() {
		said, err := c.get("/slow?d=3s")
		if err == nil && said != "slept 3s\n" {
			err = fmt.Errorf("/slow: %q", said)
		}
		slow <- err
	}()
	flow.Eventually(t, "/slow has begun", func() bool { return c.serves("v3", generation).Open.Active == 1 })
	load = flow.NewLoadBy(t, c.Dialer(addr), addr, 6, 3)
	load.Flows(20)
	start = time.Now()
	c.Docker("stop", "-t", "40", c.name)
	t.Logf("docker stop has taken %v", time.Since(start))
	if err := <-slow; err != nil {
		t.Errorf("in flight at the stop: %v", err)
	}
	for _, r := range load.End().Counts().Failed {
		if f, ok := r.Err.(*draintest.Failure); !ok || f.Kind != "refused" {
			t.Errorf("during the stop: %v", r.Err)
		}
	}
	got := c.inspect(".State.Status") + " " + c.inspect(".State.ExitCode") + " " + c.inspect(".RestartCount")
	if got != "exited 0 0" {
		t.Errorf("after docker stop: %s", got)
	}
	c.do(3, "status")
	c.do(0, "start")
	c.serves("v3", 1) // the volume's
	c.do(0, "stop")
}
