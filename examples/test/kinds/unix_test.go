//go:build linux

package kinds

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

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
	var clients sync.WaitGroup
	var mu sync.Mutex // guards what follows
	var kinds [2]flow.Kind
	for i := range keep + fresh {
		k := &kinds[i/keep]
		clients.Go(func() {
			dials, refused := 0, false
			c := &flow.Client{Host: "kinds", Dial: func() (net.Conn, error) {
				dials++
				conn, err := net.Dial("unix", path)
				refused = err != nil
				return conn, err
			}}
			defer c.Close()
			for {
				think(40 * time.Millisecond)
				_, answer, err := c.Do("POST", "/echo", small)
				stopping := false
				select {
				case <-b.stopping:
					stopping = true
				default:
				}
				mu.Lock()
				switch {
				case refused && stopping: // nothing was sent
					mu.Unlock()
					return
				case err != nil || !bytes.Equal(answer, small):
					t.Logf("after swap %d: %q, %v", b.swaps.Load(), answer, err)
					k.Lost++
				}
				k.Sent++
				if i < keep && dials > 1 && !stopping {
					k.Closed++
				}
				mu.Unlock()
				dials = 0
				if i >= keep {
					c.Close()
				} else {
					dials = 1
				}
			}
		})
	}
	for range 10 {
		b.Swaps(1)
		b.swaps.Add(1)
	}
	if now, err := os.Stat(path); err != nil || !os.SameFile(before, now) {
		t.Errorf("after the swaps the socket's file is another: %v", err)
	}
	close(b.stopping)
	b.Stop()
	clients.Wait()
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
