//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

// TestHello: the program of the README is this one, and clients that never retry lose nothing by
// three swaps and a stop.
func TestHello(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"README.md", "README.zh-CN.md"} {
		text, err := os.ReadFile(filepath.Join(flow.Examples(), "..", page))
		if err != nil {
			t.Fatal(err)
		}
		_, program, _ := strings.Cut(string(source), "\npackage main\n")
		if !strings.Contains(string(text), "```go\npackage main\n"+program+"```\n") {
			t.Errorf("%s has another program than examples/hello", page)
		}
	}

	addr, dir := flow.Host()+":8080", flow.Dir(t)
	t.Cleanup(func() {
		for _, pid := range flow.Running(dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	p := flow.Start(t, exec.Command(build(t, dir, string(source), addr)))
	p.Answers(t, addr)
	load := flow.NewLoad(t, addr, 4, 2)
	main := p.Process.Pid
	for n := 2; n <= 4; n++ {
		signal(t, main, syscall.SIGHUP)
		flow.Eventually(t, fmt.Sprint("generation ", n, " is promoted"), func() bool {
			return strings.Count(p.Output(), "INFO promoted ") == n-1
		})
		flow.Eventually(t, "the old one is gone", func() bool { return !flow.Alive(main) })
		left := flow.Running(dir)
		if len(left) != 1 {
			t.Fatalf("processes %v, want one", left)
		}
		main = left[0]
	}
	load.Flows(20)
	load.Lossless()
	signal(t, main, syscall.SIGTERM)
	flow.Eventually(t, "the service is gone", func() bool { return len(flow.Running(dir)) == 0 })
	if n := strings.Count(p.Output(), "lost=0"); n != 4 {
		t.Errorf("%d of 4 generations say lost=0", n)
	}
}

// build builds the program for another address.
func build(t *testing.T, dir, source, addr string) string {
	t.Helper()
	const port = `":8080"`
	if strings.Count(source, port) != 1 {
		t.Fatalf("main.go: want one %s", port)
	}
	here, err := filepath.Abs("main.go")
	if err != nil {
		t.Fatal(err)
	}
	changed := flow.WriteFile(t, dir, "main.go", strings.Replace(source, port, `"`+addr+`"`, 1))
	overlay := flow.WriteFile(t, dir, "overlay.json", fmt.Sprintf(`{"Replace":{%q:%q}}`, here, changed))
	app := filepath.Join(dir, "app")
	if said, code := flow.Run(t, exec.Command("go", "build", "-overlay", overlay, "-o", app, ".")); code != 0 {
		t.Fatal(said)
	}
	return app
}

func signal(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}
