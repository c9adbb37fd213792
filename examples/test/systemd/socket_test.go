//go:build linux

package systemd

import (
	"sync"
	"testing"
)

// TestSocketActivation: the first client starts the service, and finds the port open after a stop, too.
func TestSocketActivation(t *testing.T) {
	b := newBed(t)
	b.put("../../deploy/systemd/app.socket", units+"app.socket")
	b.ctl(0, "daemon-reload")
	b.ctl(0, "start", "app.socket")
	if state := b.show("ActiveState"); state != "inactive" {
		t.Fatalf("app.service is %s before anybody has come", state)
	}

	b.crowd(20)
	b.serves(1, "v1")
	load := b.load(8, 2)
	for i := range 2 {
		b.ctl(0, "reload", "app")
		b.serves(i+2, "v1")
		load.Flows(100)
	}
	load.Lossless()

	load = b.load(4, 4)
	b.ctl(0, "restart", "app")
	pid := b.serves(1, "v1")
	load.Flows(100)
	b.run("kill", "-9", pid)
	b.restarted(pid)
	load.Flows(100)
	load.End()
	t.Log(load)
	if load.Refused() > 0 || load.Failed() > 4+4 {
		t.Errorf("%v, want 0 refused, at most 8 failed", load)
	}

	b.ctl(0, "stop", "app")
	b.crowd(20) // the socket unit is another one, and lives on
	b.serves(1, "v1")
	b.ctl(0, "stop", "app.socket", "app.service")
	c := b.client()
	if _, err := c.Do("GET", "/whoami", nil); err == nil {
		t.Error("answered after both units were stopped")
	}
}

// crowd is n clients at once, who are all answered.
func (b *bed) crowd(n int) {
	b.t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			c := b.client()
			defer c.Close()
			if _, err := c.Echo("/echo", []byte("hello")); err != nil {
				b.t.Errorf("one of the crowd: %v", err)
			}
		})
	}
	wg.Wait()
}
