package listener

import (
	"sync"
	"sync/atomic"
)

// departure is what connections at rest come to while the set leaves.
type departure struct {
	set    *Set
	grace  atomic.Int64 // a time.Duration
	from   atomic.Int64 // when it began, or was hurried, in Unix nanoseconds
	rush   atomic.Bool  // it was hurried
	offers chan offer
	moving atomic.Int32  // offers made and not answered
	room   chan struct{} // has a value when one has been answered
	over   chan struct{} // closed when nothing is handed over any more
	end    sync.Once     // closes it
}

type offer struct {
	conn *conn
	took chan bool
}

// moves tells whether c will be handed over once it is at rest, as far as one can know.
func (d *departure) moves(c *conn) bool {
	if c.state.Load() == 0 && c.heard.Load() { // what a wrapper has read stays here
		return false
	}
	return !d.isOver() && !c.wrapped.Load() && !c.refused.Load() && !c.h2.Load() && movable(c.Conn)
}

func (d *departure) isOver() bool {
	select {
	case <-d.over:
		return true
	default:
		return false
	}
}

// offer waits for the answer to the offer of c.
func (d *departure) offer(c *conn) (took bool) {
	d.moving.Add(1)
	defer func() {
		d.moving.Add(-1)
		select {
		case d.room <- struct{}{}:
		default:
		}
	}()
	o := offer{c, make(chan bool, 1)}
	select {
	case d.offers <- o:
		took = <-o.took
		c.refused.Store(!took)
	case <-d.over:
	}
	return took
}
