//go:build linux

package readmes

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// onEngines are READMEs that need more than packages, or no balancer.
var onEngines = []readme{
	{folder: "deploy/swarm", site: "127.0.0.1:8000", engine: swarm},
	{folder: "deploy/kubernetes", first: 2, site: "service/app", moves: true, last: 1, engine: kubernetes},
	{folder: "deploy/board", section: "In Kubernetes", at: "deploy/kubernetes"},
	{folder: "deploy/systemd", site: "127.0.0.1:8080", last: 3, engine: systemd},
	{folder: "deploy/systemd", section: "Try it without touching the machine", all: true},
	{folder: "deploy/prometheus", site: "127.0.0.1:8081", engine: prometheus},
	{folder: "deploy/board", more: []string{"consul"}},
	{folder: "deploy/pipeline", first: 2, site: "127.0.0.1:8080"},
	{folder: "grpc"}, // its package has clients that count
}

// dockerd is a Docker Engine. There is no registry, and the control groups that it makes are known by the folder of
// the session: the kernel has no namespace that would take them with it.
const dockerd = `
mkdir -p /var/lib/docker
mount -t tmpfs tmpfs /var/lib/docker
GOGC=400 dockerd --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/baton-$(basename "$dir")" --log-level error &
until docker version; do sleep 0.5; done
`

// withTraefik is that with the image of Traefik that a registry would have.
const withTraefik = dockerd + `
mkdir "$dir/traefik"
cp "$(command -v traefik)" "$dir/traefik"
printf '%s\n' 'FROM scratch' 'COPY traefik /' 'ENTRYPOINT ["/traefik"]' >"$dir/traefik/Dockerfile"
docker build -q -t traefik:v3.6.7 "$dir/traefik"
`

// compose is that with Compose.
const compose = withTraefik + `
mkdir -p ~/.docker/cli-plugins
ln -sf "$(command -v docker-compose)" ~/.docker/cli-plugins
`

// swarm is that on a machine with an address.
const swarm = withTraefik + `
ip link add eth0 type bridge
ip addr add 10.0.0.1/24 dev eth0
ip link set eth0 up
`

// kubernetes is what .ci/get-kubernetes has built already.
const kubernetes = `
[ -e ~/.cache/baton/kubelet ] || { mkdir -p ~/.cache && ln -s "$(dirname "$(command -v kubelet)")" ~/.cache/baton; }
`

// prometheus is Debian's, as its unit starts and reloads it. There is no systemd in the session.
const prometheus = `
(cd / && exec setpriv --reuid=prometheus --regid=prometheus --clear-groups prometheus --log.level=warn) &
prometheus=$!
systemctl() { [ "$*" = "reload prometheus" ] && kill -HUP $prometheus; }
`

// systemd is one that runs: the session is in its namespaces. See bed.
const systemd = ":"

// bed boots a systemd, and returns a shell there.
func (s *session) bed() *exec.Cmd {
	s.t.Helper()
	const cannot = 77 // bed.sh's exit code where a machine can't
	env := append(os.Environ(), "BED="+flow.Dir(s.t), fmt.Sprintf("BED_OWNER=%d", os.Getpid()))
	bed := func(args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(flow.Examples(), "deploy", "systemd", "bed.sh"), args...)
		cmd.Env = env
		return cmd
	}
	s.t.Cleanup(func() {
		if said, code := flow.Run(s.t, bed("down")); code != 0 {
			s.t.Errorf("bed.sh down: %d, %s", code, said)
		}
	})
	if said, code := flow.Run(s.t, bed("up")); code == cannot {
		flow.Missing(s.t, "a systemd", said)
	} else if code != 0 {
		s.t.Fatalf("bed.sh up: %d, %s", code, said)
	}
	said, _ := flow.Run(s.t, bed("pid"))
	var err error
	if s.pid, err = strconv.Atoi(strings.TrimSpace(said)); err != nil {
		s.t.Fatalf("bed.sh pid: %q", said)
	}
	s.inside = "/mnt/session"
	s.dir = fmt.Sprintf("/proc/%d/root%s", s.pid, s.inside)
	if err := os.MkdirAll(filepath.Join(s.dir, "home"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	return bed("run", "env", "-C", s.inside+"/clone", "dir="+s.inside, "HOME="+s.inside+"/home",
		"bash", "-eu", "-o", "pipefail")
}

// machine brings up what a README says is there already.
func (s *session) machine(engine string) {
	s.t.Helper()
	switch engine {
	case "", systemd:
		return
	case dockerd, compose:
		for _, name := range []string{"dockerd", "docker", "docker-init"} { // docker alone may be a client
			flow.Tool(s.t, name, "apt-get install docker.io")
		}
		if engine == compose {
			flow.Tool(s.t, "docker-compose", "run .ci/get-compose DIR and put DIR on the PATH")
			flow.Tool(s.t, "traefik", "run .ci/get-traefik DIR and put DIR on the PATH")
		}
	case kubernetes:
		flow.Tool(s.t, "kubelet", "run .ci/get-kubernetes DIR and put DIR on the PATH")
	case prometheus:
		flow.Tool(s.t, "prometheus", "apt-get install prometheus")
	}
	s.follow(block{commands: engine})
}

// clients returns what connects to a site, and its address. A service of Kubernetes is reached from its first node.
func (s *session) clients(readme readme) (dial func() (net.Conn, error), addr string) {
	s.t.Helper()
	service, ok := strings.CutPrefix(readme.site, "service/")
	if !ok {
		client := s.network(readme.client)
		return func() (net.Conn, error) { return client.Dial(readme.site) }, readme.site
	}
	ask := func(command string) string {
		s.follow(block{commands: command + ` >"$dir/answer"`})
		text, err := os.ReadFile(filepath.Join(s.dir, "answer"))
		if err != nil {
			s.t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	ip := ask("kubectl get service " + service + " -o jsonpath={.spec.clusterIP}")
	flow.WriteFile(s.t, s.dir, "routes", flow.Routes(ip))
	s.follow(block{commands: `until examples/deploy/kubernetes/cluster.sh in /tmp/k8s node1 sh "$dir/routes"; ` +
		"do sleep 0.05; done"})
	node := flow.OpenNamespace(s.t,
		fmt.Sprintf("/proc/%d/root/proc/%s/root/run/netns/node1", s.first(), ask("cat /tmp/k8s/first")))
	addr = net.JoinHostPort(ip, "80")
	return func() (net.Conn, error) { return node.Dial(addr) }, addr
}

// sweep removes the control groups of a session, whose processes may need a moment to be gone.
func sweep(t testing.TB, dir string) {
	t.Helper()
	name := "baton-" + filepath.Base(dir)
	for end := time.Now().Add(flow.Patience); ; time.Sleep(50 * time.Millisecond) {
		var left []string
		_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && strings.Contains(path+"/", "/"+name+"/") {
				left = append(left, path)
			}
			return nil
		})
		if len(left) == 0 {
			return
		}
		for i := len(left) - 1; i >= 0; i-- { // the inner ones first
			_ = os.Remove(left[i])
		}
		if time.Now().After(end) {
			t.Errorf("control groups are left: %v", fmt.Sprint(left))
			return
		}
	}
}
