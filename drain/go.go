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
// over, Go returns an error, and f does not run. With owners (Own), handlers have requests of older generations, too:
// ctx ends when those are over, and in a stop when the older generations are gone.
//
// A handler or a hijacked connection must not wait for the end of ctx, which waits for its end:
// Draining and DrainStarted tell when draining begins. At Config.DrainTimeout the connections that
// are left are closed and ctx ends; what returns within another second is not cut off.
//
// The new generation runs its functions while the old one's finish. Lead is for what must not run twice.
func (s *Service) Go(name string, f func(ctx context.Context)) error {
	if !s.work.Add(work.Task{Name: name, F: func() { f(s.work.Fed()) }}) {
		return akin(fmt.Errorf("drain: Go %q: this generation has finished; Go starts no new work", name), ErrStopped,
			ErrDraining)
	}
	return nil
}

// Lead runs f in one generation of the service at a time: a scheduler, a lease, a consumer that
// must not run twice. It begins when this generation is the main one and no older one runs its
// function of that name any more. Ctx ends when draining begins, in a swap or a stop. A swap that
// fails does not touch it. A swap or stop waits for f, at most Config.DrainTimeout, and the next
// generation waits with its own for as long as that takes. Where the old generation is killed, or its
// version of this library does not know Lead, the next one waits until that process is gone.
//
// When f returns before draining begins, it is over in this generation: it is not begun again, and the next generation
// runs its own. A generation that is replaced, or stops, while it still waits does not run f.
//
// Name is valid UTF-8 of at most 100 bytes, and the same in each version of the program. A generation can have 64, each
// once; Lead returns an error otherwise, and when draining has begun.
//
// Not promised: that f runs once among services that were started apart from each other. One is a second instance;
// another is one that a service manager starts while the program of the old one has not exited. Nor is it promised that
// nothing of f runs after ctx has ended, in a process that is halted.
func (s *Service) Lead(name string, f func(ctx context.Context)) error {
	err, reply := ErrStopped, make(chan error, 1)
	if s.run.post(leadAdded{lead{name: name, f: f}, reply}) {
		err = <-reply
	}
	if err != nil {
		return fmt.Errorf("drain: Lead %q: %w", name, err)
	}
	return nil
}

// Own registers what one generation at a time has for itself. It must be called before Run. A generation acquires its
// owners in the order of these calls, and releases them in the reverse order.
//
// Name tells the owners apart, and is the same in each version of the program: 1 to 100 bytes of UTF-8. A service has
// up to 32 owners. Own returns an error for a nil owner, for any other name, for a name that is taken, for the 33rd
// owner, and from Run on.
//
// A swap stops the service for a moment, once the child has proved itself. Requests wait, the handlers that run end,
// then what Lead runs, and the owners release. The child acquires and serves, and has the requests that have waited.
// If anything of that fails, or takes longer than Config.PauseMax, this generation acquires again and serves on. An
// owner that the child does not have saves. Where the child's library knows no owners, nothing stops, and the owners
// save when this generation has finished.
//
// The first generation acquires, with nothing, before it is ready. It has any time, and an error makes Run return it.
// The last one releases when nothing is in flight any more, before Config.Gone. Each owner has Config.DrainTimeout for
// that, besides the drain's own, and an error makes Run return it. A signal to stop that comes meanwhile ends the wait.
//
// Config.Ready, the self-check and Config.Check come before Acquire, and may find nothing there.
//
// The swap does not wait for hijacked connections, handlers that have asked for Context or Draining, goroutines, what
// Go runs, and what ServeGraceful serves. They must not use what is owned, unless the owner lets them. Not promised:
// that a request which waits in a generation that is killed is answered; that a handler which waits for another request
// of the same service ends. STATE.md in the repository has all of it, with the failures.
func (s *Service) Own(name string, owner Owner) error {
	err, reply := ErrStopped, make(chan error, 1)
	if s.run.post(ownerAdded{name, owner, reply}) {
		err = <-reply
	}
	if err != nil {
		return fmt.Errorf("drain: Own %q: %w", name, err)
	}
	return nil
}
