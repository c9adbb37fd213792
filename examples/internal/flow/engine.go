//go:build linux

package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/template"
)

// Engine is a Docker Engine of a test's own: see engine.sh. There is no registry. Its containers see the folders of
// the host that they mount.
type Engine struct {
	t testing.TB
	// Dir is for files of the test. It has a short name, and is gone at the end.
	Dir string
	net *Namespace
	pid int // of a process in its namespaces
}

// NewEngine starts one, until the end of the test.
func NewEngine(t testing.TB) *Engine {
	t.Helper()
	Root(t)
	for _, name := range []string{"dockerd", "docker", "docker-init"} { // docker alone may be a client
		Tool(t, name, "apt-get install docker.io")
	}
	Tool(t, "nsenter", "apt-get install util-linux")
	e := &Engine{t: t, Dir: Dir(t)}
	cmd := exec.Command("dash", filepath.Join(Examples(), "internal", "flow", "engine.sh"), e.Dir+"/engine")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	p := Start(t, cmd)
	t.Cleanup(func() {
		_ = p.Process.Signal(syscall.SIGTERM) // and it tidies up
		<-p.Ended()
	})
	Eventually(t, "the Docker Engine answers", func() bool {
		select {
		case <-p.Ended():
			t.Fatalf("the Docker Engine has ended:\n%s", p.Output())
		default:
		}
		return e.Command("docker", "version").Run() == nil
	})
	e.pid = Child(Child(p.Process.Pid))
	e.net = OpenNamespace(t, fmt.Sprintf("/proc/%d/ns/net", e.pid))
	return e
}

// Socket is where its API is.
func (e *Engine) Socket() string { return e.Dir + "/engine/sock" }

// Command returns one that asks this engine, and is in its network.
func (e *Engine) Command(name string, args ...string) *exec.Cmd {
	if e.pid != 0 {
		args = append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", e.pid), "--", name}, args...)
		name = "nsenter"
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(),
		"DOCKER_HOST=unix://"+e.Socket(), "DOCKER_CONFIG="+e.Dir+"/config", "DOCKER_BUILDKIT=0")
	return cmd
}

// Inside returns one that runs beside the engine: in its namespaces, and on its mounts.
func (e *Engine) Inside(name string, args ...string) *exec.Cmd {
	inside := []string{"-t", strconv.Itoa(e.pid), "-n", "-m", "-p", "--", name}
	return exec.Command("nsenter", append(inside, args...)...)
}

// Cable gives the engine and another one a network: 10.9.0.1 and 10.9.0.2.
func (e *Engine) Cable(to *Engine) {
	e.t.Helper()
	for _, do := range []struct {
		at   *Engine
		args string
	}{
		{e, "link add cable type veth peer name cable netns " + strconv.Itoa(to.pid)},
		{e, "address add 10.9.0.1/24 dev cable"}, {e, "link set cable up"},
		{to, "address add 10.9.0.2/24 dev cable"}, {to, "link set cable up"},
	} {
		if said, code := Run(e.t, do.at.Command("ip", strings.Fields(do.args)...)); code != 0 {
			e.t.Fatalf("ip %s: exit code %d\n%s", do.args, code, said)
		}
	}
}

// Kill ends the engine and all that runs there, as the loss of its machine would.
func (e *Engine) Kill() { _ = syscall.Kill(e.pid, syscall.SIGKILL) }

// Of is the same engine for a part of the test.
func (e *Engine) Of(t testing.TB) *Engine {
	of := *e
	of.t = t
	return &of
}

// Run runs docker, and returns what it has said and its exit code.
func (e *Engine) Run(args ...string) (string, int) {
	e.t.Helper()
	said, code := Run(e.t, e.Command("docker", args...))
	return strings.TrimSpace(said), code
}

// Docker runs docker, which must succeed, and returns what it has said.
func (e *Engine) Docker(args ...string) string {
	e.t.Helper()
	said, code := e.Run(args...)
	if code != 0 {
		e.t.Fatalf("docker %s: exit code %d\n%s", strings.Join(args, " "), code, said)
	}
	return said
}

// Inspect is docker inspect -f {{field}}, without a process: tests ask often.
func (e *Engine) Inspect(name, field string) string {
	e.t.Helper()
	dial := func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", e.Socket()) }
	client := http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	res, err := client.Get("http://docker/containers/" + name + "/json")
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()
	var said any
	if err := json.NewDecoder(res.Body).Decode(&said); err != nil || res.StatusCode != http.StatusOK {
		e.t.Fatalf("inspect %s: %s %v, %v", name, res.Status, said, err)
	}
	marshal := func(v any) (string, error) {
		text, err := json.Marshal(v)
		return string(text), err
	}
	var text strings.Builder
	format := template.Must(template.New("").Funcs(template.FuncMap{"json": marshal}).Parse("{{" + field + "}}"))
	if err := format.Execute(&text, said); err != nil {
		e.t.Fatal(err)
	}
	return text.String()
}

// Image builds an image from a Dockerfile and files, by their names there.
func (e *Engine) Image(tag, dockerfile string, files map[string]string) {
	e.t.Helper()
	dir, err := os.MkdirTemp(e.Dir, "context")
	if err != nil {
		e.t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for name, from := range files {
		if from, err = filepath.EvalSymlinks(from); err != nil {
			e.t.Fatal(err)
		}
		if err := os.Link(from, filepath.Join(dir, name)); err != nil { // on another file system
			Deploy(e.t, from, filepath.Join(dir, name))
		}
	}
	WriteFile(e.t, dir, "Dockerfile", dockerfile)
	e.Docker("build", "-q", "-t", tag, dir)
}

// Service builds app:VERSION by the Dockerfile of deploy/docker, and returns that tag. See Static.
func (e *Engine) Service(name, version, fault string) string {
	e.t.Helper()
	text, err := os.ReadFile(filepath.Join(Examples(), "deploy", "docker", "Dockerfile"))
	if err != nil {
		e.t.Fatal(err)
	}
	e.Image("app:"+version, string(text), map[string]string{"app": Static(e.t, name, version, fault)})
	return "app:" + version
}

// Traefik builds the image that the files of deploy name, from a program.
func (e *Engine) Traefik(program string) {
	e.t.Helper()
	e.Image("traefik:v3.6.7", "FROM scratch\nCOPY traefik /\nENTRYPOINT [\"/traefik\"]\n",
		map[string]string{"traefik": program})
}

// Dialer returns what connects to an address from inside the engine's network.
func (e *Engine) Dialer(addr string) func() (net.Conn, error) {
	return func() (net.Conn, error) { return e.net.Dial(addr) }
}
