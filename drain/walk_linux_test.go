package drain_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestWalkOfTheREADME types what the README's quick start says, and sees behind each command what it shows there.
func TestWalkOfTheREADME(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	for _, tool := range []string{"bash", "curl", "pidof"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	readme := have(os.ReadFile("../README.md"))(t)
	dir, at := t.TempDir(), freePort(t)
	name := fmt.Sprintf("walk%d", os.Getpid()) // pidof finds no other
	app, main := filepath.Join(dir, name), filepath.Join(dir, "main.go")
	here := strings.NewReplacer("-o app .", "-o "+app+" "+main, "-o app.new .", "-o "+app+".new "+main,
		"mv app.new app", "mv "+app+".new "+app, "./app", app, "app", name, "localhost:8080", at).Replace
	program := strings.ReplaceAll(marked(t, readme, "program"), ":8080", at)
	must(t, os.WriteFile(main, []byte(program), 0o600))

	seen := &transcript{}
	shell := exec.Command("bash", "-s")
	shell.Dir, shell.Stdout, shell.Stderr = "..", seen, seen // the module in which the program builds
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}  // and the generations of the service are in its group
	shell.WaitDelay = time.Second
	typed := have(shell.StdinPipe())(t)
	must(t, shell.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL)
		_ = shell.Wait()
	})
	for _, step := range strings.Split(marked(t, readme, "walk"), "$ ")[1:] {
		command, shown, _ := strings.Cut(strings.TrimSuffix(step, "\n"), "\n")
		_, _ = fmt.Fprintln(typed, here(command))
		if line := seen.await(shown); line != "" {
			t.Fatalf("behind %q the README shows %q; what came is\n%s", command, line, seen.text())
		}
	}
}

// marked returns the code block behind a marker.
func marked(t testing.TB, page []byte, marker string) string {
	t.Helper()
	m := regexp.MustCompile("(?s)<!-- " + marker + " -->\n```\\w+\n(.*?)```\n").FindSubmatch(page)
	if m == nil {
		t.Fatalf("the README has no block marked %q", marker)
	}
	return string(m[1])
}

// A transcript is what a terminal shows.
type transcript struct {
	mu   sync.Mutex
	all  bytes.Buffer
	read int // how much of it has been waited for
}

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(b)
}

func (s *transcript) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// await waits until all these lines have come, in whatever order: two processes write them. It returns one that has
// not come in a minute.
func (s *transcript) await(lines string) (missing string) {
	from := s.read
	for line := range strings.Lines(lines) {
		line = strings.TrimSuffix(line, "\n")
		at := -1
		for deadline := time.Now().Add(time.Minute); at < 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				return line
			}
			at = strings.Index(s.text()[from:], line)
		}
		s.read = max(s.read, from+at+len(line))
	}
	return ""
}
