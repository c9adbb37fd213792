//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWatchExit(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -9 $$": -9} {
		cmd := exec.Command("sh", "-c", script)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if code, seen := watchExit(cmd.Process.Pid)(); !seen || code != want {
			t.Errorf("%s: exit code %d, seen %v", script, code, seen)
		}
	}
}

// Whatever a service has started is ended with it.
func TestDestroyEndsTheWholeGroup(t *testing.T) {
	target := filepath.Join(t.TempDir(), "service")
	script := "#!/bin/sh\ntrap '' TERM HUP INT\nsleep 600 &\necho child=$! >&2\nwait\nwait\n"
	if err := os.WriteFile(target, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := launch("service", target, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := until(context.Background(), 10*time.Second, "the child is there", func() (bool, error) {
		_, found := s.log.find(time.Time{}, "child=")
		return found, nil
	}); err != nil {
		t.Error(err)
	}
	s.destroy()
	<-s.log.ended // nobody holds its stderr any more
	p := s.watch(s.group)
	<-p.gone
	if p.exit() != "killed" {
		t.Errorf("exit: %s", p.exit())
	}
	if s.living() != 0 {
		t.Errorf("%d live", s.living())
	}
	if err := s.signal(s.group, 0); err == nil {
		t.Error("a process that is gone was signalled")
	}
}

func TestUntil(t *testing.T) {
	impossible := errors.New("impossible")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		fact func() (bool, error)
		want string
	}{
		{"true at once", cancelled, func() (bool, error) { return true, nil }, ""},
		{"impossible", context.Background(), func() (bool, error) { return false, impossible },
			"waiting until it is: impossible"},
		{"too late", context.Background(), func() (bool, error) { return false, nil }, "but never: it is"},
		{"interrupted", cancelled, func() (bool, error) { return false, nil }, "context canceled"},
	} {
		err := until(tt.ctx, 5*time.Millisecond, "it is", tt.fact)
		if got := errText(err); (tt.want == "") != (err == nil) || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestParseThink(t *testing.T) {
	for _, tt := range []struct {
		in     string
		lo, hi time.Duration
		bad    bool
	}{
		{in: "0s"},
		{in: "1ms", lo: time.Millisecond, hi: time.Millisecond},
		{in: "0-20ms", hi: 20 * time.Millisecond},
		{in: "1-1.5s", lo: time.Second, hi: 1500 * time.Millisecond},
		{in: "5ms-1s", lo: 5 * time.Millisecond, hi: time.Second},
		{in: "20ms-5ms", bad: true},
		{in: "-5ms", bad: true},
		{in: "fast", bad: true},
		{in: "", bad: true},
	} {
		lo, hi, err := parseThink(tt.in)
		if (err != nil) != tt.bad || !tt.bad && (lo != tt.lo || hi != tt.hi) {
			t.Errorf("%q: %v to %v, %v", tt.in, lo, hi, err)
		}
	}
}
