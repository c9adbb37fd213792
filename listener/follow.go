package listener

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/baton-go/baton/listener/internal/sniff"
)

// Follow returns a listener for a server that can't be given to Track: of another package than
// net/http, or out of reach in a framework. Where it speaks HTTP/1, plain or over TLS that ln has
// taken off, the set follows the requests and the answers. Leave then lets go of the connections as
// it does for tracked servers. At rest they go to handover, or are closed after a grace. An answer on
// a connection that can't be moved gets "Connection: close". A connection that has sent nothing counts
// as one of HTTP/1 once the server has answered another by HTTP/1.
//
// Connections of other protocols, those that were upgraded (counted as hijacked), and those on
// which HTTP/1 can't be followed are waited for, as for untracked servers.
//
// A connection that was adopted between two requests has no timeout of the server's until the
// first byte of the next.
func (s *Set) Follow(ln net.Listener) *Followed {
	return &Followed{Listener: ln, set: s, conns: make(map[*talk]struct{}), changed: make(chan struct{})}
}

// Followed is a listener whose connections are followed.
type Followed struct {
	net.Listener // what Follow was given

	set    *Set
	unused sync.WaitGroup // connections that were accepted and not used yet; none is added once Accept fails
	http1  atomic.Bool    // an answer of HTTP/1 was written
	sealed sync.Once      // of the warning errSealed

	mu      sync.Mutex // guards what follows; the locks of connections come before it
	conns   map[*talk]struct{}
	led     int           // how many of them the set lets go of
	changed chan struct{} // closed when led becomes 0
}

// Accept implements net.Listener.
func (f *Followed) Accept() (net.Conn, error) {
	nc, err := f.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := f.set.find(nc)
	if c == nil {
		return nc, nil
	}
	t := &talk{Conn: nc, own: c, of: f}
	c.talk = t
	if _, wrapped := f.set.unwrapTracked(nc); !wrapped {
		c.speaks.Store(followed)
	} else if c.wrapper.seen.Store(true); !c.foreign {
		if _, secure := nc.(encrypted); secure {
			c.secure(new(sniff.Records))
		}
	}
	f.unused.Add(1)
	f.mu.Lock()
	f.conns[t] = struct{}{}
	f.mu.Unlock()
	if f.http1.Load() || c.adopted.idle.Load() {
		t.meet()
	}
	if _, sends := nc.(io.ReaderFrom); sends {
		return talkTCP{t}, nil
	}
	return t, nil
}

// Await waits, when Accept has failed, until the server has used each connection that it has
// accepted. Then it waits until the set has let go of all on which it follows HTTP/1, or ctx ends.
// A graceful stop of the server comes after that: it may close what it has not used yet, and what
// it believes to be at rest.
func (f *Followed) Await(ctx context.Context) {
	f.unused.Wait()
	for {
		f.mu.Lock()
		led, changed := f.led, f.changed
		f.mu.Unlock()
		if led == 0 {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// learn is told that the server speaks HTTP/1. The caller holds no lock of a connection.
func (f *Followed) learn() {
	if f.http1.Swap(true) {
		return
	}
	f.mu.Lock()
	all := make([]*talk, 0, len(f.conns))
	for t := range f.conns {
		all = append(all, t)
	}
	f.mu.Unlock()
	for _, t := range all {
		t.meet()
	}
}
