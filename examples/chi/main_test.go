//go:build unix

package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/draintest"
)

// TestMain lets the binary of the tests be the service too: a swap starts it again, with the same environment.
func TestMain(m *testing.M) {
	if os.Getenv("SERVE") == "" {
		os.Exit(m.Run())
	}
	main() // and no test
}

// TestSwapsLoseNothing is a test to copy: the service as its own process, swapped and stopped under clients that never
// retry.
func TestSwapsLoseNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address, service := freePort(t), drain.Client{Socket: filepath.Join(t.TempDir(), "control")}
	cmd := exec.CommandContext(ctx, os.Args[0], "-addr", address, "-admin", freePort(t),
		"-control", service.Socket, "-probation", "100ms")
	cmd.Env = append(os.Environ(), "SERVE=1")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, err := service.Status(ctx); err != nil; _, err = service.Status(ctx) {
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	load := &draintest.Load{Client: draintest.Client{Addr: address}, Keep: 8, Fresh: 2}
	load.Start(ctx)
	for range 3 {
		if err := service.Swap(ctx); err != nil {
			t.Error(err)
		}
		if err := load.Settle(ctx); err != nil {
			t.Error(err)
		}
	}
	if n := load.Stop(); len(n.Failed)+n.Reconnects > 0 {
		t.Error(n)
	}
	st, err := service.Status(ctx)
	if err != nil || st.Generation != 4 || st.Total.Lost > 0 {
		t.Errorf("generation %d, %d lost, %v; want 4, none", st.Generation, st.Total.Lost, err)
	}
	if err := service.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil { // of the first generation; and what all have said has come
		t.Error(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
