package listener

import (
	"net"
	"os"
	"syscall"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// spare is how many descriptors a sweep leaves free where another process holds the socket, too: handlers need some.
const spare = 16

// sweep takes what clients have connected already out of the kernel's queue, which may die with the
// socket. Nothing is accepted any more. It reports whether some are left for want of descriptors.
// Where another process holds the socket they are its own; where none does, they wait until it is
// called again: others end, and give theirs back.
func (so *socket) sweep() (left bool) {
	so.mu.Lock()
	if so.closed || !so.open {
		so.mu.Unlock()
		return false
	}
	first := !so.ending
	so.ending = true
	so.rouse()
	for so.inside > 0 {
		so.cond.Wait()
	}
	so.mu.Unlock()
	dying := so.dying.Load()
	if dying && first {
		sockopt.RefuseClients(so.ln)
	}
	now, most := sockopt.QueueLen(so.ln)
	release := func() {}
	if dying {
		now = most // those whose handshake is under way, too; nobody new comes
	} else {
		var ok bool
		release, ok = sockopt.ReserveFDs(so.ln, spare)
		defer func() { release() }()
		if !ok {
			so.set.starved.report(so.key, syscall.EMFILE)
			return false
		}
	}
	err := so.finish()
	if err == nil {
		err = sockopt.AcceptQueued(so.ln, now, func(f *os.File) bool {
			so.half = f
			err := so.finish()
			if scarce(err) && !dying {
				release()
				release = func() {}
				err = so.finish()
			}
			return err == nil
		})
	}
	if so.half != nil {
		err = syscall.EMFILE
	}
	if scarce(err) {
		so.set.starved.report(so.key, err)
	}
	return dying && scarce(err)
}

// finish makes Accept return the connection that a sweep has taken out of the queue, which takes
// one more descriptor for a moment. An error means that there is none; it is to be called again.
func (so *socket) finish() error {
	if so.half == nil {
		return nil
	}
	nc, err := net.FileConn(so.half)
	if scarce(err) {
		return err
	}
	_ = so.half.Close()
	so.half = nil
	if err != nil { // its client is gone
		return nil
	}
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.closed {
		_ = nc.Close()
		return nil
	}
	so.queue = append(so.queue, so.wrap(nc))
	so.cond.Broadcast()
	return nil
}
