//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

// TestWalkOfTheREADME types what the README says, command by command, in a newcomer's module beside the clone, and sees
// behind each command what it shows there. Clients that never retry lose nothing meanwhile, nor does the queue.
func TestWalkOfTheREADME(t *testing.T) {
	if !strings.HasSuffix(read(t, "main.go"), "\n"+marked(t, "program")) {
		t.Error("README.md has another program than examples/hello")
	}
	for _, w := range []walk{
		{block: "program", commands: "walk", order: "/echo?%d-%d"},
		{block: "own", commands: "own-walk", order: "/orders/load-%d-%d"},
	} {
		t.Run(w.block, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			w.open(t)
			for command := range strings.Lines(marked(t, "clone")) {
				w.types(t, command, "")
			}
			load := &draintest.Load{Keep: 4, Fresh: 2, Ask: w.ask}
			load.Client = draintest.Client{Addr: w.host + ":8080", Timeout: flow.Patience}
			load.Think = func(draintest.Result) time.Duration { return 10 * time.Millisecond }
			for _, step := range strings.Split("\n"+marked(t, w.commands), "\n$ ")[1:] {
				command, shown, _ := strings.Cut(step, "\n")
				if strings.HasPrefix(command, "kill -TERM ") {
					if n := load.Stop(); n.Requests < 100 || len(n.Failed)+n.Reconnects > 0 {
						t.Errorf("%v, want more than 100 requests, none failed, no reconnects", n)
					}
				}
				w.types(t, command, shown)
				if strings.HasPrefix(shown, "INFO ready ") {
					load.Start(t.Context())
				}
			}
			flow.Eventually(t, "the service is gone", func() bool { return len(flow.Running(w.dir)) == 0 })
			t.Logf("README's %q: from the clone to the end in %v; %v", w.block, time.Since(begun), load.Counts())
			shipped, _ := os.ReadFile(filepath.Join(w.dir, "own", "shop.log"))
			ordered := load.Counts().Requests
			if w.block == "own" && bytes.Count(shipped, []byte("shipped load-")) != ordered {
				t.Errorf("shipped is not what the load has ordered, %d", ordered)
			}
		})
	}
}

// A walk is a program on the page and what is typed with it, by their markers.
type walk struct {
	block, commands string
	order           string // what a client of the load POSTs to, with its numbers

	dir, host string
	here      *strings.Replacer // from the page's names to those of this test, which is one of several
	shell     *flow.Process
	typed     io.Writer
	read      int // how much of what the shell has shown has been waited for
}

func (w *walk) ask(c *draintest.Client, i, n int) (draintest.Answer, error) {
	return c.Do("POST", fmt.Sprintf(w.order, i, n), nil)
}

// open makes a module with the versions of the examples, and opens a shell there.
func (w *walk) open(t *testing.T) {
	w.dir, w.host = flow.Dir(t), flow.Host()
	w.here = strings.NewReplacer("localhost:", w.host+":",
		`":8080"`, `"`+w.host+`:8080"`, `":9090"`, `"`+w.host+`:9090"`,
		"grep -c shipped", "grep -c 'shipped [0-9]'") // the load's are counted apart
	own, examples := filepath.Join(w.dir, "own"), flow.Examples()
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(examples), filepath.Join(w.dir, "baton")); err != nil {
		t.Fatal(err)
	}
	flow.WriteFile(t, own, "go.sum", read(t, filepath.Join(examples, "go.sum")))
	flow.WriteFile(t, own, "go.mod", "module own\n"+
		regexp.MustCompile("(?m)^.*baton-go/baton.*$").ReplaceAllString(read(t, filepath.Join(examples, "go.mod")), ""))
	flow.WriteFile(t, own, "main.go", w.here.Replace(marked(t, w.block)))

	cmd := exec.Command("bash", "-s")
	cmd.Dir = own
	cmd.Env = append(os.Environ(), flow.GoFlags())
	typed, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.shell, w.typed = flow.Start(t, cmd), typed
	t.Cleanup(func() {
		for _, pid := range flow.Running(w.dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

// types waits until all lines that the page shows have come, in whatever order: two processes write them.
func (w *walk) types(t *testing.T, command, shown string) {
	t.Helper()
	_, _ = fmt.Fprintln(w.typed, w.here.Replace(command))
	from := w.read
	for line := range strings.Lines(shown) {
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "[::]:", w.host+":")
		flow.Eventually(t, fmt.Sprintf("the README shows %q behind %q", line, command), func() bool {
			before, _, found := strings.Cut(w.shell.Output()[from:], line)
			if found {
				w.read = max(w.read, from+len(before)+len(line))
			}
			return found
		})
	}
}

// marked returns the README's code block behind a marker.
func marked(t *testing.T, marker string) string {
	t.Helper()
	m := regexp.MustCompile("(?s)<!-- " + marker + " -->\n```\\w+\n(.*?)```\n").
		FindStringSubmatch(read(t, filepath.Join(flow.Examples(), "..", "README.md")))
	if m == nil {
		t.Fatalf("the README has no block marked %q", marker)
	}
	return m[1]
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
