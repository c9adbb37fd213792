package listener

import (
	"context"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-go/baton/listener/internal/tlsmove"
)

// drainer lets connections go while the set leaves.
type drainer struct {
	set      *Set
	grace    atomic.Int64  // a time.Duration
	from     atomic.Int64  // the instant when it began, or was hurried
	hurried  atomic.Bool   // it was hurried
	moving   atomic.Int32  // offers made and not answered
	answered chan struct{} // has a value when one has been answered
	waits    chan struct{} // has a value when an offer waits for a handover
	ended    atomic.Bool   // nothing is handed over any more
	over     chan struct{} // closed then
	offers   stack[*offer]

	mu        sync.Mutex // guards what follows
	pending   []*offer   // taken from offers, and to be collected
	postponed []*offer   // taken by the other process, and their readers wait for catchUp
	catchesUp bool       // catchUp was called
}

func newDrainer(s *Set) *drainer {
	return &drainer{set: s, answered: make(chan struct{}, 1), waits: make(chan struct{}, 1), over: make(chan struct{})}
}

type offer struct {
	conn   *conn
	http2  []byte       // the state of one that speaks HTTP/2
	socket syscall.Conn // under conn
	took   chan bool
	listed element[*offer] // in offers
}

func (d *drainer) isOver() bool { return d.ended.Load() }

// offer offers c to the other process and waits for the answer. It must need little stack. A goroutine of net/http that
// reads has little left; to copy it into a larger one took a quarter of this process's time in a swap. So offer takes
// no lock, and asks no channel but for the answer.
func (d *drainer) offer(c *conn, http2 []byte) (took bool) {
	o := spare.Get().(*offer)
	o.conn, o.http2, o.socket = c, http2, c.Conn.(syscall.Conn)
	c.move.offered.Store(true)
	d.moving.Add(1)
	if d.offers.add(&o.listed) {
		signal(d.waits)
	}
	if d.isOver() { // the goroutine that ended it may not have seen this connection
		d.refuse()
	}
	took = <-o.took
	o.conn, o.http2, o.socket = nil, nil, nil
	spare.Put(o)
	return took
}

// spare are offers that have been answered.
var spare = sync.Pool{New: func() any {
	o := &offer{took: make(chan bool, 1)}
	o.listed.value = o
	return o
}}

// end refuses the offers that wait, and all that follow.
func (d *drainer) end() {
	if d.ended.Swap(true) {
		return
	}
	close(d.over)
	d.refuse()
}

// takeLocked puts the offers that wait into pending, the oldest first.
func (d *drainer) takeLocked() {
	n := len(d.pending)
	for o := range d.offers.takeAll() {
		d.pending = append(d.pending, o.value)
	}
	slices.Reverse(d.pending[n:])
}

// refuse refuses the offers that wait.
func (d *drainer) refuse() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.takeLocked()
	for _, o := range d.pending {
		d.answer(o, false)
	}
	d.pending = nil
}

// answer answers an offer, at once or by catchUp. What waits for that has it no more.
func (d *drainer) answer(o *offer, took bool) {
	o.conn.move.declined.Store(!took)
	o.conn.move.offered.Store(took)
	d.moving.Add(-1)
	signal(d.answered)
	if !took || !d.postpone(o) {
		o.took <- took
	}
}

// postpone leaves the answer to catchUp, and reports false where it is to be given now. To end what a server has of a
// connection takes longer than to move it. So those that are still to be moved come first, and a process without
// requests under way ends before.
func (d *drainer) postpone(o *offer) bool {
	c := o.conn
	if o.http2 != nil || c.state.Load() == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.catchesUp {
		return false
	}
	c.move.postponed.Store(true)
	c.set.remove(c)
	d.postponed = append(d.postponed, o)
	return true
}

// catchUp has servers end what postpone has left, some at a time: requests that are under way come first.
func (d *drainer) catchUp() {
	const some, pause = 64, 2 * time.Millisecond
	d.mu.Lock()
	left := d.postponed
	d.postponed, d.catchesUp = nil, true
	d.mu.Unlock()
	for i, o := range left {
		if i%some == some-1 {
			time.Sleep(pause)
		}
		o.conn.move.postponed.Store(false)
		o.took <- true
	}
}

// signal gives c a value, unless it has one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Ticket says of a connection that is handed over what its descriptor doesn't.
type Ticket struct {
	Listener string `json:"listener"`       // network and address, as given to Listen
	Idle     bool   `json:"idle"`           // between two requests; otherwise it has not sent a byte
	Left     int64  `json:"left,omitempty"` // of its age, in milliseconds; 0: without a bound, see Config.MaxAge

	Hijacked bool   `json:"hijacked,omitempty"` // of HandOver: it was
	State    []byte `json:"state,omitempty"`    // of HandOver, or as Form says

	Form string `json:"-"` // how State is written, where the connection's protocol has one; "": it has none
}

// ticket reports false where a connection over TLS can't be moved after all.
func (c *conn) ticket(http2 []byte) (t Ticket, ok bool) {
	idle := c.requests.count.Load() > 0 || c.adopted.idle.Load()
	t = Ticket{Listener: c.key(), Idle: idle, Left: c.age.left(), State: http2}
	if http2 != nil {
		t.Form = formHTTP2
	}
	if c.speaks.Load() != insealed && (http2 == nil || c.seal == nil) {
		return t, true
	}
	keys, err := c.exportTLS()
	if err != nil {
		return t, false
	}
	if http2 == nil {
		t.Form, t.State = formTLS, keys
	} else {
		t.Form, t.State = formSealedHTTP2, joinState(keys, http2)
	}
	return t, true
}

// exportTLS returns the state of c, of which nothing is written from then on. One that is asleep writes nothing.
func (c *conn) exportTLS() ([]byte, error) {
	if c.seal != nil {
		return c.seal.Export()
	}
	c.mu.Lock() // close wipes with it
	defer c.mu.Unlock()
	s := c.adopted.keys.Load()
	if s == nil || !c.asleep() {
		return nil, net.ErrClosed
	}
	return s.AppendBinary(make([]byte, 0, tlsmove.MaxState)), nil
}

// Handover gives connections to another process and returns, in the same order, which of them it
// took: from that answer on they are its own, whatever becomes of it. It may not return before the
// other side has answered or can't answer any more, or has been told that its answer will not
// count. After an error nothing more is handed over, and what took doesn't name stays here.
type Handover func(tickets []Ticket, conns []syscall.Conn) (took []bool, err error)

// batch is how many connections go in one call of a Handover. Linux passes at most 253 descriptors
// in one message.
const batch = 64

// handoverWorkers is how many calls of a Handover may be under way.
const handoverWorkers = 4

// collect adds the offers that wait, up to a batch.
func (d *drainer) collect(offers []*offer) []*offer {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.takeLocked()
	n := min(len(d.pending), batch-len(offers))
	offers = append(offers, d.pending[:n]...)
	d.pending = slices.Delete(d.pending, 0, n)
	if len(d.pending) > 0 {
		signal(d.waits)
	}
	return offers
}

// run hands batches of offers over.
func (d *drainer) run(ctx context.Context, handover Handover) {
	defer d.end()
	shut, gone := false, func() <-chan struct{} { return d.set.isShut } // until then, more may come
	for {
		var offers []*offer
		select {
		case <-d.waits:
			offers = d.collect(nil)
		case <-ctx.Done():
			return
		case <-gone():
			if shut {
				return
			}
			shut, gone = true, d.set.drained
			continue
		}
		// Readers that were interrupted together are about to offer theirs: they run as long as
		// that brings more.
		for before := 0; before < len(offers) && len(offers) < batch; {
			before = len(offers)
			runtime.Gosched()
			offers = d.collect(offers)
		}
		tickets := make([]Ticket, 0, len(offers))
		conns := make([]syscall.Conn, 0, len(offers))
		offers = slices.DeleteFunc(offers, func(o *offer) bool {
			t, ok := o.conn.ticket(o.http2)
			if ok {
				tickets, conns = append(tickets, t), append(conns, o.socket)
			} else {
				d.answer(o, false)
			}
			return !ok
		})
		if len(offers) == 0 {
			continue
		}
		took, err := handover(tickets, conns)
		for i, o := range offers {
			ok := i < len(took) && took[i]
			if ok {
				o.conn.move.done.Store(true)
				d.set.moved.Add(1)
			} else {
				o.conn.move.shared.Store(true)
				if hasSecrets(tickets[i].Form) && o.conn.seal != nil {
					o.conn.seal.Keep()
				}
			}
			clear(tickets[i].State)
			d.answer(o, ok)
		}
		if err != nil {
			return
		}
	}
}
