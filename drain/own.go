package drain

import (
	"context"
	"io"
)

// Owner is what one generation of the service at a time has for itself: state in memory, an open database, a lock, a
// warm cache, a hub. Own registers one.
//
// A method that returns an error has changed nothing. One that panics, or ends its goroutine, counts as one that has
// returned an error. So an owner does first what can fail, or undoes it. The methods of one owner never run at the same
// time. Each should return soon after its ctx has ended. That of a swap ends after Config.PauseMax, or when the child
// is gone. A method that goes on is given up, and the swap fails; the owner's next call waits until it has returned.
type Owner interface {
	// Acquire makes it this generation's, before the first request comes.
	//
	// R is what Release has written: in the generation before or, when a swap has failed, in this one. It may be
	// empty. It is nil when nothing was handed over, and the owner loads what was saved. That is so at the first
	// start, when the generation before has died or has no owner of this name, and when Release had nothing to write
	// to.
	//
	// After an error, Acquire may be called again. After a success, Release may follow without a request in between.
	// Or the process ends without Release, as by a kill: a saved copy stays until there is a newer one.
	Acquire(ctx context.Context, r io.Reader) error

	// Release gives it up. No handler that is waited for runs, and none begins.
	//
	// W is for the next Acquire. It need not be written to, and what is written may go nowhere when nothing has
	// changed since Acquire. An error of w is one of Release: if Release returns nil all the same, it has failed. W is
	// nil when no other generation takes it over: the owner saves.
	//
	// After an error the owner has given nothing up: this generation serves on with it, and Acquire is not called.
	// After nil, Acquire is called when the swap fails, before this generation serves on.
	Release(ctx context.Context, w io.Writer) error
}
