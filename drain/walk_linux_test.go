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
	"testing"
	"time"
)

// TestWalkOfTheREADME types what the README's quick start says, and sees what it shows: each line of it, in that order.
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
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, at := t.TempDir(), freePort(t)
	name := fmt.Sprintf("walk%d", os.Getpid()) // pidof finds no other
	app, main := filepath.Join(dir, name), filepath.Join(dir, "main.go")
	here := strings.NewReplacer("-o app .", "-o "+app+" "+main, "-o app.new .", "-o "+app+".new "+main,
		"mv app.new app", "mv "+app+".new "+app, "./app", app, "app", name, "localhost:8080", at).Replace
	program := strings.ReplaceAll(marked(t, readme, "program"), ":8080", at)
	if err := os.WriteFile(main, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}

	seen := &transcript{}
	shell := exec.CommandContext(t.Context(), "bash", "-s")
	shell.Dir, shell.Stdout, shell.Stderr = "..", seen, seen // the module in which the program builds
	typed, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = fmt.Fprintf(typed, "kill -9 $(pidof %s)\nexit\n", name)
		_ = shell.Wait()
	})
	for line := range strings.Lines(marked(t, readme, "walk")) {
		line = strings.TrimSuffix(line, "\n")
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			_, _ = fmt.Fprintln(typed, here(command))
		} else if !seen.shows(line) {
			t.Fatalf("the README shows %q next; what came is\n%s", line, seen.text())
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

// A transcript is what a terminal shows, read line by line.
type transcript struct {
	mu   sync.Mutex
	all  bytes.Buffer
	read int
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

// shows waits for a line behind those that it has found before.
func (s *transcript) shows(part string) bool {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if i := strings.Index(s.text()[s.read:], part); i >= 0 {
			s.read += i + len(part)
			return true
		}
	}
	return false
}
