//go:build linux

package ansible

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

// balancers are the addresses of the site, as in try.sh.
var balancers = []string{"10.78.0.8:80", "10.78.0.9:80"}

// patience is for a run of ansible-playbook, which takes seconds of CPU time itself.
const patience = 3 * flow.Patience

var (
	sites atomic.Int32
	nodes = []string{"a", "b", "c"} // of the inventory
)

// site is what try.sh makes: three nodes and two balancers, reached by ssh. Setup has been done.
type site struct {
	t    *testing.T
	name string // of try.sh's namespaces
	dir  string // of try.sh
	env  []string
	net  *flow.Namespace
}

func newSite(t *testing.T, flags string) *site {
	t.Helper()
	t.Parallel()
	flow.Root(t)
	for tool, from := range map[string]string{
		"ansible-playbook": "ansible-core", "sshd": "openssh-server", "ssh-keygen": "openssh-client",
		"haproxy": "haproxy", "socat": "socat", "ip": "iproute2", "curl": "curl",
	} {
		flow.Tool(t, tool, "apt-get install "+from)
	}
	s := noSite(t)
	t.Cleanup(func() {
		if said, code := flow.Run(t, s.try("down")); code != 0 {
			t.Errorf("try.sh down: %d\n%s", code, said)
		}
	})
	const cannot = 77 // bed.sh's exit code where a machine can't
	switch said, code := flow.Run(t, s.try("up")); code {
	case 0:
	case cannot:
		flow.Missing(t, "a bed for systemd", said)
	default:
		t.Fatalf("try.sh up: %d\n%s", code, said)
	}
	s.net = flow.OpenNamespace(t, "/run/netns/"+s.name+"-client")
	s.play(0, "", "setup", "app_flags", flags)
	return s
}

// noSite is a place for one.
func noSite(t *testing.T) *site {
	name := fmt.Sprintf("an%d-%d", os.Getpid(), sites.Add(1))
	dir := filepath.Join(flow.Dir(t), "try")
	return &site{t: t, name: name, dir: dir, env: append(os.Environ(), "NET="+name, "TRY="+dir, "INTER=250ms",
		"ANSIBLE_NOCOLOR=1", "ANSIBLE_PYTHON_INTERPRETER=/nowhere", // a node needs no Python
		fmt.Sprintf("BED_OWNER=%d", os.Getpid()))}
}

func (s *site) try(args ...string) *exec.Cmd {
	cmd := exec.Command("dash", append([]string{"./try.sh"}, args...)...)
	cmd.Env = s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// playbook is a run of the role, with settings as names and values.
func (s *site) playbook(do string, settings ...string) *exec.Cmd {
	s.t.Helper()
	verb, options, _ := strings.Cut(do, " ")
	vars := map[string]string{"do": verb}
	for i := 0; i < len(settings); i += 2 {
		vars[settings[i]] = settings[i+1]
	}
	text, err := json.Marshal(vars)
	if err != nil {
		s.t.Fatal(err)
	}
	run := []string{"run", "ansible-playbook", "app.yml", "-e", string(text)}
	return s.try(append(run, strings.Fields(options)...)...)
}

// play wants the exit code of a run and its words, whatever the width of lines, and returns how long it took.
func (s *site) play(code int, words, do string, settings ...string) time.Duration {
	s.t.Helper()
	began := time.Now()
	said, got := flow.Run(s.t, s.playbook(do, settings...))
	s.judge(do, said, got, code, words)
	return time.Since(began)
}

func (s *site) judge(do, said string, got, code int, words string) {
	s.t.Helper()
	s.t.Logf("do=%s: %d\n%s", do, got, said)
	said = strings.Join(strings.Fields(said), " ")
	for want := range strings.SplitSeq(words, " … ") {
		if got != code || !strings.Contains(said, want) {
			s.t.Fatalf("do=%s: exit code %d, want %d and %q", do, got, code, want)
		}
	}
}

// begun is a run that goes on.
type begun struct {
	*flow.Process
	s  *site
	do string
}

func (s *site) begin(do string, settings ...string) begun {
	s.t.Helper()
	return begun{flow.Start(s.t, s.playbook(do, settings...)), s, do}
}

func (b begun) ends(code int, words string) {
	b.s.t.Helper()
	select {
	case <-b.Ended():
	case <-time.After(patience):
		b.s.t.Fatalf("do=%s does not end\n%s", b.do, b.Output())
	}
	if code < 0 { // by a signal, or because of one
		code = b.ProcessState.ExitCode()
	}
	b.s.judge(b.do, b.Output(), b.ProcessState.ExitCode(), code, words)
}

// at runs a command at a host.
func (s *site) at(host string, command ...string) (string, int) {
	return flow.Run(s.t, s.try(append([]string{"at", host}, command...)...))
}

func (s *site) file(host, path string) string {
	s.t.Helper()
	text, err := os.ReadFile(s.path(host, path))
	if err != nil {
		s.t.Fatalf("%s at %s: %v", path, host, err)
	}
	return string(text)
}

func (s *site) link(host, path string) string {
	s.t.Helper()
	to, err := os.Readlink(s.path(host, path))
	if err != nil {
		s.t.Fatalf("%s at %s: %v", path, host, err)
	}
	return to
}

// path is where a host's file is, as this process sees it.
func (s *site) path(host, path string) string {
	s.t.Helper()
	pid, err := os.ReadFile(filepath.Join(s.dir, host, "pid"))
	if err != nil {
		s.t.Fatal(err)
	}
	return filepath.Join("/proc", strings.TrimSpace(string(pid)), "root", path)
}

// whoami is what a node says of itself, and whether it does.
func (s *site) whoami(node string) (who flow.Identity, up bool) {
	to := fmt.Sprintf("10.78.0.%d:8080", 1+node[0]-'a')
	c := draintest.Client{Dial: func() (net.Conn, error) { return s.net.Dial(to) }, Addr: to, Timeout: flow.Patience}
	defer c.Close()
	a, err := c.Do("GET", "/whoami", nil)
	if err != nil {
		return who, false
	}
	return who, json.Unmarshal(a.Body, &who) == nil
}

// run wants the versions of a, b and c, and returns their pids.
func (s *site) run(versions string) string {
	s.t.Helper()
	var got []string
	var pids string
	for _, node := range nodes {
		who, _ := s.whoami(node)
		got = append(got, who.Version)
		pids += fmt.Sprint(who.PID, " ")
	}
	if fmt.Sprint(got) != "["+versions+"]" {
		s.t.Fatalf("they run %v, want %s", got, versions)
	}
	return pids
}

// load comes by both balancers.
func (s *site) load() *flow.Load {
	s.t.Helper()
	var n atomic.Int32
	dial := func() (net.Conn, error) { return s.net.Dial(balancers[int(n.Add(1))%len(balancers)]) }
	return flow.NewLoadBy(s.t, dial, "app", 4, 2)
}

// drained wants each balancer to have been told to spare the node, and then no more. What a node says of itself before
// it goes would do for the load.
func (s *site) drained(node string) {
	s.t.Helper()
	told := regexp.MustCompile(fmt.Sprintf(
		`(?s)Server app/%[1]s enters drain state.*Server app/%[1]s is [A-Z]+ \(leaving forced drain\)`, node))
	for _, host := range []string{"lb1", "lb2"} {
		said, _ := s.at(host, "journalctl", "-q", "--no-pager", "-o", "cat", "-u", "haproxy")
		if !told.MatchString(said) {
			s.t.Errorf("%s has not drained %s and taken it back:\n%s", host, node, said)
		}
	}
}

// eventually waits for what comes of a run, or fails with that.
func (b begun) eventually(what string, fact func() bool) {
	b.s.t.Helper()
	for end := time.Now().Add(patience); !fact(); time.Sleep(50 * time.Millisecond) {
		select {
		case <-b.Ended():
			b.s.t.Fatalf("do=%s has ended, and not: %s\n%s", b.do, what, b.Output())
		default:
		}
		if time.Now().After(end) {
			b.s.t.Fatalf("not within %v: %s\n%s", patience, what, b.Output())
		}
	}
}

// free wants that no run has a node.
func (s *site) free() {
	s.t.Helper()
	for _, node := range nodes {
		if claim, err := os.ReadFile(s.path(node, "/usr/local/bin/app.releases/claim")); !os.IsNotExist(err) {
			s.t.Errorf("%s is claimed still: %s, %v", node, claim, err)
		}
	}
}
