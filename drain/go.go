package drain

import (
	"context"
	"fmt"

	"github.com/baton-go/baton/drain/internal/work"
)

// Go runs f in a goroutine that a swap and a stop wait for, at most Config.DrainTimeout. Before the service is ready, f
// waits for that; a service that ends before never runs it. Name tells it apart in Status and in the report of what was
// cut off.
//
// Handlers hand in work, so f goes on while they do: ctx ends when this generation drains and its
// last connection is closed or handed over. What was handed in by then is f's to finish. Handlers
// may call Go while their generation drains, and so may functions that Go runs. When all of it is
// over, Go returns an error, and f does not run.
//
// A handler or a hijacked connection must not wait for the end of ctx, which waits for its end:
// Draining and DrainStarted tell when draining begins. At Config.DrainTimeout the connections that
// are left are closed and ctx ends; what returns within another second is not cut off.
//
// The new generation runs its functions while the old one's finish. Lead is for what must not run twice.
func (s *Service) Go(name string, f func(ctx context.Context)) error {
	if !s.work.Add(work.Task{Name: name, F: func() { f(s.work.Fed()) }}) {
		return akin(fmt.Errorf("drain: Go %q: the service is over: no work begins any more", name), ErrStopped,
			ErrDraining)
	}
	return nil
}
