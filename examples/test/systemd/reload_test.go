//go:build linux

package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReload: ten reloads under load, and nobody notices but systemd, which knows the new main process each time.
func TestReload(t *testing.T) { reloads(newBed(t), 10) }

func reloads(b *bed, times int) {
	b.ctl(0, "start", "app")
	b.serves(1, "v1")
	if status := b.show("StatusText"); !strings.Contains(status, "generation 1") {
		b.t.Errorf("status %q, want one that names the generation", status)
	}
	load := b.load(16, 2)
	pids := map[string]bool{}
	for i := range times {
		version := []string{"v2", "v1"}[i%2]
		b.deploy(build(b.t, version, ""))
		b.ctl(0, "reload", "app")
		pids[b.serves(i+2, version)] = true
		load.Flows(150)
		b.serves(i+2, version) // no later message has put the unit in another state
		want := fmt.Sprintf("generation %d, version %s,", i+2, version)
		if status := b.show("StatusText"); !strings.Contains(status, want) {
			b.t.Errorf("status %q after reload %d, want one that names generation and version", status, i+1)
		}
	}
	load.Lossless()
	if len(pids) != times {
		b.t.Errorf("%d processes in %d reloads", len(pids), times)
	}
	if n := b.show("NFileDescriptorStore"); n != "1" {
		b.t.Errorf("%s descriptors in the store, want 1", n)
	}
	if n := b.show("NRestarts"); n != "0" {
		b.t.Errorf("%s restarts", n)
	}
	b.gentle()
}

// TestFailedReload: systemctl says so, the unit stays active with its process, and nobody else notices. Nor does it
// matter afterwards what is in the file, for a stop.
func TestFailedReload(t *testing.T) {
	b := newBed(t)
	b.ctl(0, "start", "app")
	b.ctl(0, "reload", "app") // so that the main process is no child of systemd's
	pid := b.serves(2, "v1")
	load := b.load(16, 2)

	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("not a program\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, broken := range []struct {
		name, reason string
		deploy       func()
	}{
		{"crashes", "exit", func() { b.deploy(build(t, "bad", "crash")) }},
		{"fails its check", "main.fault=check", func() { b.deploy(build(t, "bad", "check")) }},
		{"is not there", "is missing", func() { b.run("rm", app) }},
		{"is no program", "no program for this machine", func() { b.deploy(text) }},
	} {
		broken.deploy()
		b.ctl(-1, "reload", "app")
		if got := b.serves(2, "v1"); got != pid {
			t.Fatalf("%s: pid %s serves, want %s", broken.name, got, pid)
		}
		status := b.show("StatusText")
		if !strings.Contains(status, "reload failed") || !strings.Contains(status, broken.reason) {
			t.Errorf("%s: status %q, want one that says it and why: %s", broken.name, status, broken.reason)
		}
		load.Flows(100)
	}
	load.Lossless()

	b.stopDrains()
}

// stopDrains asserts that a stop finishes what is in flight.
func (b *bed) stopDrains() {
	b.t.Helper()
	h := b.hold()
	end := b.begin("stop", "app")
	b.draining()
	h.answered()
	end()
	b.gentle()
}
