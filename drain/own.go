package drain

import (
	"context"
	"io"
)

// Owner is what one generation of the service at a time has for itself: state in memory, a database under a lock, a
// cache, a hub. Own registers one.
type Owner interface {
	// Acquire makes it this generation's.
	Acquire(ctx context.Context, r io.Reader) error
	// Release gives it up.
	Release(ctx context.Context, w io.Writer) error
}
