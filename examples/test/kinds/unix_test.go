//go:build linux

package kinds

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

// TestUnixStream has HTTP/1.1 over a unix socket, whose file is the same
// through all swaps.
func TestUnixStream(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "unix") // a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	b := newBed(t, "nethttp", "-unix", path)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	const keep, fresh = 3, 2
	var mu sync.Mutex // guards what follows
	var kinds [2]flow.Kind
	stopping, stop := context.WithCancel(context.Background())
	defer stop()
	load := draintest.Load{Client: draintest.Client{Addr: "kinds", Timeout: flow.Patience,
		Dial: func() (net.Conn, error) { return net.Dial("unix", path) }}, Keep: keep, Fresh: fresh}
	load.Think = func(draintest.Result) time.Duration { return rand.N(120 * time.Millisecond) }
	load.Each = func(r draintest.Result) {
		mu.Lock()
		defer mu.Unlock()
		k, stops := &kinds[r.Client/keep], stopping.Err() != nil
		var f *draintest.Failure
		if stops && errors.As(r.Err, &f) && f.Kind == "refused" {
			return // nothing was sent
		}
		if k.Sent++; r.Err != nil {
			t.Logf("after swap %d: %v", b.swaps.Load(), r.Err)
			k.Lost++
		}
		if r.Again && !stops {
			k.Closed++
		}
	}
	load.Start(context.Background())
	t.Cleanup(func() { load.Stop() })
	for range 10 {
		b.Swaps(1)
		b.swaps.Add(1)
	}
	if now, err := os.Stat(path); err != nil || !os.SameFile(before, now) {
		t.Errorf("after the swaps the socket's file is another: %v", err)
	}
	stop()
	b.Stop()
	load.Stop()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the stop: %s is there (%v)", path, err)
	}
	for i, client := range []string{"keep-alive, POST", "new connection each, POST"} {
		kinds[i].Name, kinds[i].Client, kinds[i].Resumed = "HTTP/1.1 over a unix socket", client, -1
		kinds[i].Report(t)
	}
	if kinds[0].Closed > 0 {
		t.Errorf("%d connections closed by swaps, want 0: they are handed over", kinds[0].Closed)
	}
}
