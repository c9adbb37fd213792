//go:build unix && !race

package statuspage

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/draintest"
)

// allocs are those of one question of a page, where no other has asked just before.
func allocs(svc Service) float64 {
	h := &handler{svc: svc}
	return testing.AllocsPerRun(200, func() {
		h.at = time.Time{}
		h.serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/"+state, nil))
	})
}

// What a page asks costs the same with any number of connections, and some allocations for each generation and prober.
func TestAllocationsOfAStatus(t *testing.T) {
	few, many := allocs(&fake{status: drain.Status{Phase: drain.Ready}}), allocs(&fake{status: crowded()})
	each := len(crowded().Older) + len(crowded().History) + len(crowded().Probers)
	t.Logf("%.0f allocations; with 5 generations, 16 swaps and 20 probers %.0f", few, many)
	if many > few+float64(4*each) {
		t.Errorf("%.0f allocations more for %d generations, swaps and probers: want 4 each at most", many-few, each)
	}

	svc, err := drain.New(drain.Config{Signals: &drain.Signals{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := svc.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	svc.Serve(ln, &http.Server{Handler: http.NotFoundHandler()})
	over := make(chan error, 1)
	go func() { over <- svc.Run(t.Context()) }()
	open := func(n int) {
		t.Helper()
		for range n {
			c := draintest.Client{Addr: ln.Addr().String()}
			t.Cleanup(c.Close)
			if _, err := c.Do("GET", "/livez", nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	open(1)
	few = allocs(svc)
	open(500)
	many = allocs(svc)
	if open := svc.Status().Open.Open(); open != 501 {
		t.Errorf("%d connections are open, want 501", open)
	}
	t.Logf("a service with 1 connection: %.0f allocations, with 501 %.0f", few, many)
	if many > few+1 {
		t.Errorf("%.0f allocations more for 500 connections", many-few)
	}
	if err := svc.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}
