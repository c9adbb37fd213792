package drain

import (
	"context"
	"fmt"
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

// Own registers, before Run, what one generation at a time has for itself, under a name that is the same in each
// version of the program.
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
