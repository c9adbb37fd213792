//go:build linux

package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestNewVersionsListenElsewhere: each new version spells its address otherwise, or takes one that overlaps
// the old one's. systemd's store holds the socket of the newest alone, and after a kill -9 clients wait in its queue.
func TestNewVersionsListenElsewhere(t *testing.T) {
	b := newBed(t)
	b.ctl(0, "start", "app")
	b.serves(1, "v1")
	stored := func() {
		t.Helper()
		b.eventually("the store holds one socket", func() bool { return b.show("NFileDescriptorStore") == "1" })
	}
	stored()
	path := app
	for i, address := range []string{"localhost:8080", ":8080", "0.0.0.0:8080", addr} {
		// A version whose flags are its own: what is at the old one's path starts it.
		next := fmt.Sprintf("%s.%d", app, i)
		b.put(build(t, "v1", ""), next)
		file := filepath.Join(t.TempDir(), "app")
		script := fmt.Sprintf("#!/bin/sh\nexec %s -addr %s -control %s\n", next, address, control)
		if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		load := b.load(8, 4)
		b.put(file, path)
		b.ctl(0, "reload", "app")
		b.serves(2, "v1")
		load.Flows(100)
		load.Lossless()
		stored()
		path = next
		nc, err := b.net.Dial("127.0.0.2:8080")
		if err == nil {
			_ = nc.Close()
		}
		if open := address == ":8080" || address == "0.0.0.0:8080"; open != (err == nil) {
			t.Errorf("with -addr %s another address is open: %v", address, err == nil)
		}

		load = b.load(8, 4)
		pid := b.show("MainPID")
		b.run("kill", "-9", pid)
		b.restarted(pid)
		b.serves(1, "v1")
		load.Flows(100)
		load.End()
		t.Log(load)
		if load.Refused() > 0 || load.Failed() > 8+4 { // each may have been in its hands
			t.Errorf("%s: %v, want 0 refused, at most 12 failed", address, load)
		}
		stored()
	}
}
