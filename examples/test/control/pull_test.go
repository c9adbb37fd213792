//go:build unix

package control

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// probe asks /ping every so often until the test is over, as a balancer does.
func (s *site) probe(interval time.Duration) {
	over := make(chan struct{})
	var probing sync.WaitGroup
	s.t.Cleanup(func() { close(over); probing.Wait() })
	probing.Go(func() {
		client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
		for {
			if res, err := client.Get("http://" + s.addr + "/ping"); err == nil {
				_ = res.Body.Close()
			}
			select {
			case <-over:
				return
			case <-time.After(interval):
			}
		}
	})
}

// TestPullIsNoticed: the script's own looking must not be taken for traffic
// that still comes in, which would put off the end of the pull.
func TestPullIsNoticed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "-pull-max", "10m")
	s.want(0, "started", "start")
	s.probe(400 * time.Millisecond)
	s.want(0, "noticed", "pull")
	s.serves(s.pid(), "v1", 501)
	s.want(0, "restored", "restore")
	s.want(0, "stopped", "stop")
}

// TestPullIsNotNoticed: the script waits for PULL_TIMEOUT and no longer, and
// leaves the node pulled.
func TestPullIsNotNoticed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "-pull-min", "10m", "-pull-max", "10m")
	s.want(0, "started", "start")
	s.want(150, "not noticed", "pull", "PULL_TIMEOUT=5") // time enough for -s to be heard
	s.serves(s.pid(), "v1", 501)
	s.want(150, "still there", "stop", "STOP_TIMEOUT=1")
	s.want(151, "killed", "stop", "STOP_TIMEOUT=1", "KILL=1")
}
