package drain

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/baton-go/baton/listener"
)

// HandOver gives a connection of the application's to the next generation, whose Config.Adopt gets
// it with state: at most 64 KiB in whatever form the next version understands. Nil means that the
// connection is the other generation's, and conn is closed here, which the client doesn't notice.
// After an error conn is as it was, still the caller's to use and to close. The other side may have
// refused it or died. Or it has not answered for 5 s, or a quarter of Config.DrainTimeout if that is less.
// An answer after that does not count. HandOver may be tried again until Config.DrainTimeout.
//
// It works once draining has begun because of a swap, which DrainStarted and Draining tell. Before that, and in a
// stop, it fails at once. It returns when Config.Adopt has, so call it for many connections at the same time.
//
// Conn was accepted from a listener of Listen, or hijacked from a server given to Serve, or came to
// Config.Adopt. A wrapper that has a NetConn method is taken off. The caller puts into state what the
// wrapper has buffered, and all that was read and not answered. TLS connections can't be handed over.
// No goroutine may read or write conn while HandOver runs: SetReadDeadline stops a reader. Deadlines
// don't go along.
//
// Not promised: that a connection outlives the generation that has adopted it, if that crashes.
func (s *Service) HandOver(conn net.Conn, state []byte) error {
	if len(state) > maxState {
		return fmt.Errorf("drain: hand over: the state has %d bytes, at most %d are allowed", len(state), maxState)
	}
	asked := make(successorAsked, 1)
	to := successorAnswer{err: akin(errors.New("the service has stopped"), ErrStopped)}
	if s.run.post(asked) {
		to = <-asked
	}
	if to.err == nil {
		to.err = s.set.HandOver(conn, state, func(t listener.Ticket, c syscall.Conn) error {
			return to.swap.giveOwn(s.run.ctx, t, c)
		})
	}
	if err := to.err; err != nil {
		return fmt.Errorf("drain: hand over: %w", err)
	}
	return nil
}
