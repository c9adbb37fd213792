//go:build linux

// Package readmes follows the READMEs of examples, command by command.
package readmes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) {
	flow.Keeper = "" // as a reader has it
	flow.Main(m)
}

// linked is the folder of link.sh, which each session sees.
var linked string

// readme is one that is followed.
type readme struct {
	folder  string
	section string   // its heading, for one that is followed on a machine of its own; "": all but those
	at      string   // the folder of another one, in whose session it is followed when the load has ended
	site    string   // where the load begins when the first block is done: that is the first start. "": no load
	client  string   // the network that the load comes from, as ip netns knows it; "": the machine's own
	fresh   bool     // its balancer closes connections that clients keep
	moves   bool     // what clients have kept a connection to is replaced, and not swapped
	first   int      // blocks of the first start; 0 is one
	last    int      // blocks that are followed when the load has ended
	engine  string   // commands that bring up what the README says is there already
	all     bool     // it has all commands: it makes another root, where those of the README alone are not
	more    []string // programs that the README needs and no package has
}

var followed = append([]readme{
	{folder: "deploy", site: "127.0.0.1:8080"},
	{folder: "deploy/haproxy", site: "127.0.0.1:8080"},
	{folder: "deploy/gray", site: "127.0.0.1:8080"},
	{folder: "deploy/traefik", site: "127.0.0.1:8000", more: []string{"traefik"}},
	{folder: "deploy/consul", site: "127.0.0.1:8080", more: []string{"consul"}},
	{folder: "deploy/lvs", site: "10.78.0.100:8080", client: "baton-client", moves: true},
	{folder: "deploy/keepalived", site: "10.77.0.100:8080", client: "baton-client", moves: true},
	{folder: "deploy/nginx", site: "127.0.0.1:8080", fresh: true},
	{folder: "deploy/docker", site: "172.17.0.1:8080", last: 1, engine: dockerd},
	{folder: "deploy/ansible", site: "10.78.0.9:80", client: "baton-client", last: 1},
	{folder: "deploy/traefik", section: "With Docker", site: "127.0.0.1:8000", engine: compose,
		more: []string{"docker-compose"}},
}, onEngines...)

func (r readme) read(t testing.TB) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(flow.Examples(), r.folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return r.blocks(string(text))
}

// blocks are those of the README that are followed together.
func (r readme) blocks(text string) (blocks []block) {
	for _, b := range blocksOf(text) {
		own := ""
		for _, other := range followed {
			if other.folder == r.folder && other.section == b.section {
				own = b.section
			}
		}
		if own == r.section {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// TestFollowed runs the commands of each README as they stand, in order, from a fresh copy of the tree on a machine
// that has nothing but packages and the engine.
func TestFollowed(t *testing.T) {
	var err error
	if linked, err = os.MkdirTemp(goEnv(t, "GOCACHE"), "linked"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(linked) })
	flow.Deploy(t, "link.sh", filepath.Join(linked, "link.sh"))
	for _, readme := range followed {
		if readme.at != "" {
			continue
		}
		t.Run(strings.TrimSuffix(readme.folder+"/README.md#"+readme.section, "#"), func(t *testing.T) {
			t.Parallel()
			blocks := readme.read(t)
			if len(blocks) == 0 || readme.site != "" && len(blocks) < 2+readme.last {
				t.Fatalf("%d blocks of commands, want the first start and what follows", len(blocks))
			}
			s := newSession(t, readme.engine)
			s.machine(readme.engine)
			if !readme.all {
				s.only(blocks, readme.more)
			}
			first, last := max(readme.first, 1), len(blocks)-readme.last
			for _, b := range blocks[:first] {
				s.follow(b)
			}
			var load *flow.Load
			if readme.site != "" {
				dial, addr := s.clients(readme)
				keep := 4
				if readme.fresh {
					keep = 0
				}
				load = flow.NewLoadBy(t, dial, addr, keep, 2)
			}
			for _, b := range blocks[first:last] {
				s.follow(b)
			}
			if load != nil {
				load.Flows(50)
				if !readme.moves {
					load.Lossless()
				} else if t.Log(load.End()); load.Failed() > 0 {
					t.Errorf("%v, want 0 failed", load)
				}
			}
			for _, other := range followed {
				if other.at == readme.folder {
					for _, b := range other.read(t) {
						s.follow(b)
					}
				}
			}
			for _, b := range blocks[last:] {
				s.follow(b)
			}
		})
	}
}

// block is commands of a README, and what it shows of their output.
type block struct{ section, commands, shows string }

var fence = regexp.MustCompile("(?ms)^## [^\n]*$|^```([a-z]*)\n(.*?)^```$")

// blocksOf returns the blocks of sh, each with the block of text that follows it. The blocks below the heading Tested
// run tests, and are no steps.
func blocksOf(readme string) (blocks []block) {
	section := ""
	for _, m := range fence.FindAllStringSubmatch(readme, -1) {
		heading, ok := strings.CutPrefix(m[0], "## ")
		switch {
		case ok:
			section = heading
		case strings.HasPrefix(section, "Tested") || strings.HasPrefix(section, "Measured"):
		case m[1] == "sh":
			blocks = append(blocks, block{section: section, commands: m[2]})
		case m[1] == "text" && len(blocks) > 0:
			blocks[len(blocks)-1].shows = m[2]
		}
	}
	return blocks
}

// fails is a command that is to fail, as README.md of examples/deploy lists it: "# exit code 7", and maybe more words.
var fails = regexp.MustCompile(`(?m)^(.*\S)[ \t]+# exit code ([1-9][0-9]*)\b.*$`)

// expecting has the commands that are to fail looked at instead of ending the session.
func expecting(commands string) string {
	return fails.ReplaceAllString(commands, "$1 && code=0 || code=$$?; exited $$code $2")
}

func TestExpecting(t *testing.T) {
	const commands = "true # exit code 0 is said of none\nf () { return 7; }\n" +
		"A=1 f   # exit code 7: b has it\nf # exit code 8\n"
	cmd := exec.Command("bash", "-euc", prelude+expecting(commands))
	if out, err := cmd.CombinedOutput(); err == nil || string(out) != "exit code 7, and the README says 8\n" {
		t.Errorf("%v, %q: want the second one alone to fail", err, out)
	}
}

// missing returns the first line of shows that the output has not, in that order. "…" stands for anything.
func missing(shows, output string) string {
	for line := range strings.Lines(shows) {
		line = strings.TrimRight(line, "\n")
		pattern := strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")
		at := regexp.MustCompile("(?m)^" + pattern + "$").FindStringIndex(output)
		if at == nil {
			return line
		}
		output = output[at[1]:]
	}
	return ""
}

func TestMissing(t *testing.T) {
	const output = "begins\na: version v2 pid 7\nb: version v2 pid 8\n"
	for shows, want := range map[string]string{
		"": "",
		"a: version v2 pid …\nb: version v2 …\n":   "",
		"b: version v2 pid 8\na: version v2 pid …": "a: version v2 pid …", // the other way round
		"a: version v2\n":       "a: version v2",
		"a: version v1 pid …\n": "a: version v1 pid …",
	} {
		if got := missing(shows, output); got != want {
			t.Errorf("missing(%q) = %q, want %q", shows, got, want)
		}
	}
}

// session is a shell of session.sh.
type session struct {
	t      testing.TB
	dir    string // as this process sees it
	inside string // as the session does
	pid    int    // of its first process, where that is not the shell's
	input  *os.File
	shell  *flow.Process
	blocks int
}

// prelude: a README says which packages it needs, and the test installs none. So apt-get looks whether they are there.
const prelude = `
apt-get() {
	for word; do
		case $word in
		-* | install | update) continue ;;
		openssh-server) mkdir -p /run/sshd && /usr/sbin/sshd ;; # it is started when it is installed
		esac
		dpkg -s "$word" >/dev/null || return
	done
}
exited() { [ "$1" = "$2" ] || { echo "exit code $1, and the README says $2" && exit 1; }; }
`

func newSession(t testing.TB, engine string) *session {
	t.Helper()
	flow.Root(t)
	for tool, pkg := range map[string]string{
		"git": "git", "unshare": "util-linux", "ip": "iproute2", "bash": "bash", "dpkg": "dpkg",
	} {
		flow.Tool(t, tool, "apt-get install "+pkg)
	}
	s := &session{t: t}
	var cmd *exec.Cmd
	if engine == systemd {
		cmd = s.bed()
	} else {
		s.dir = flow.Dir(t)
		if err := os.Chmod(s.dir, 0o755); err != nil { // for users that the README makes
			t.Fatal(err)
		}
		s.inside = s.dir
		cmd = exec.Command("sh", "session.sh", s.dir)
	}
	clone := exec.Command("sh", "-euc", `mkdir "$1/clone" && git ls-files -z >"$1/files" &&
		tar -c --null --verbatim-files-from -T "$1/files" | tar -x -C "$1/clone"`, "clone", s.dir)
	clone.Dir = filepath.Dir(flow.Examples())
	if said, code := flow.Run(t, clone); code != 0 {
		t.Fatalf("a copy of the tree: exit code %d\n%s", code, said)
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sweep(t, s.dir) }) // when the shell has ended
	cmd.Stdin = in
	for _, name := range []string{"GOCACHE", "GOMODCACHE"} { // a home of its own has none of what Go keeps
		cmd.Env = append(cmd.Env, name+"="+goEnv(t, name))
	}
	// The copy is no repository; and what one session has compiled and linked, another one finds in the cache, wherever
	// its copy is.
	cmd.Env = append(os.Environ(), append(cmd.Env, "GOFLAGS=-buildvcs=false -trimpath -toolexec="+linked+"/link.sh")...)
	s.input, s.shell = out, flow.Start(t, cmd)
	_ = in.Close()
	t.Cleanup(func() { _ = out.Close() })
	s.follow(block{commands: prelude})
	return s
}

// first is the pid of the first process.
func (s *session) first() int {
	if s.pid != 0 {
		return s.pid
	}
	return flow.Child(s.shell.Process.Pid)
}

// network is one that the README has made, or the machine's own.
func (s *session) network(name string) *flow.Namespace {
	path := "ns/net"
	if name != "" {
		path = "root/run/netns/" + name
	}
	return flow.OpenNamespace(s.t, fmt.Sprintf("/proc/%d/%s", s.first(), path))
}

// silence is how long the commands of a block may print nothing. How long a block takes is the machine's business.
const silence = 3 * flow.Patience

// follow runs a block in the session. Each of its commands has to succeed, or to fail with the exit code that stands
// behind it, and the output to be as the README shows it.
func (s *session) follow(b block) {
	s.t.Helper()
	s.blocks++
	base := fmt.Sprint("block.", s.blocks)
	name := filepath.Join(s.dir, base)
	flow.WriteFile(s.t, s.dir, base, expecting(b.commands))
	fmt.Fprintf(s.input, "source %s </dev/null >%[1]s.out 2>&1; : >%[1]s.done\n", filepath.Join(s.inside, base))
	done := func() bool { _, err := os.Stat(name + ".done"); return err == nil }
	said, since := int64(0), time.Now()
	for ; !done(); time.Sleep(20 * time.Millisecond) {
		if info, err := os.Stat(name + ".out"); err == nil && info.Size() > said {
			said, since = info.Size(), time.Now()
		}
		select {
		case <-s.shell.Ended():
			out, _ := os.ReadFile(name + ".out")
			s.t.Fatalf("a command fails:\n%s\nIt has said:\n%s", b.commands, out)
		default:
		}
		if time.Since(since) > silence {
			out, _ := os.ReadFile(name + ".out")
			s.t.Fatalf("no word for %v:\n%s\nIt has said:\n%s", silence, b.commands, out)
		}
	}
	out, err := os.ReadFile(name + ".out")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("%s\n%s", b.commands, out)
	if line := missing(b.shows, string(out)); line != "" {
		s.t.Errorf("the README shows a line that has not come:\n%s\nafter:\n%s\nIt has said:\n%s",
			line, b.commands, out)
	}
}
