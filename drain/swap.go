package drain

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/process"
)

// swap is one attempt to start the next generation, seen from the old one: the process, and the link to it. How far it
// has come, the machine knows. Its fields are the loop's, but for the channels and what is set before they are used.
type swap struct {
	generation int
	attempt    int
	reply      chan<- error    // to the caller of Swap; nil: no call of it began this swap
	ctx        context.Context // ends when the swap is given up, or over
	giveUp     context.CancelFunc
	link       *link.Link // nil until the child is about to be started
	child      child      // nil until it is started
	peer       *protocol  // what the child speaks; nil as long as it has not said
	unused     []string   // sockets of this generation, as the child says
	begun      time.Time
	started    time.Time // just before the child was; set before it is heard
	done       time.Time // when the child served
	childPID   int       // 0: it has not said
	version    string    // of the program that the child is

	exiting []int         // older generations whose links have ended; set before room is closed
	room    chan struct{} // closed when one more generation may live
	able    chan struct{} // closed when the child has said what it speaks
	gone    chan struct{} // closed when the child says nothing more
	over    chan struct{} // closed when the child is the main generation, or dead
	pid     chan int      // the child's, once it says
	owns    chan []string // the names of its owners, once it says

	settled  chan struct{} // nil until announce is called, closed when that has done all; guards the next two
	bequest  bequest       // what the owners of this generation have released for it
	acquires bool          // it has owners

	asking  sync.Mutex         // held while connections are sent, so that the answers come in the order of asked
	asked   chan chan<- []bool // those that wait for the child's answers
	refused error              // why nothing more is sent

	offers offers
}

// Events of a swap, for the goroutine that owns the state.
type (
	// helloAsked asks for hello to be said over a link. The answer has its place there, or says that the child is not
	// wanted any more.
	helloAsked struct {
		sw      *swap
		near    *link.Link
		strange []string // see Files.Strange
		reply   chan helloAnswer
	}
	helloAnswer struct {
		hello link.Turn
		err   error
	}
	childStarted struct {
		sw    *swap
		child child
	}
	childExited struct{ sw *swap }
	childSpeaks struct {
		sw   *swap
		able message
	}
	childServes struct {
		sw     *swap
		unused []string
	}
	// ableOver: the child has had its time to say what it speaks.
	ableOver struct {
		sw    *swap
		reply chan childAble
	}
	childAble struct {
		wanted bool // the swap goes on
		owns   bool // it says what it owns
	}
	announced struct{ sw *swap }
)

var errNotStarted = errors.New("not started")

func newSwap(generation, attempt int, reply chan<- error) *swap {
	return &swap{
		generation: generation, attempt: attempt, reply: reply,
		room: make(chan struct{}), able: make(chan struct{}), gone: make(chan struct{}),
		over: make(chan struct{}), pid: make(chan int, 1), owns: make(chan []string, 1),
		asked: make(chan chan<- []bool, 64),
	}
}

// released is what the owners have released so far: nothing while announce is under way, when a child may serve without
// a word from here.
func (sw *swap) released() (b bequest) {
	if sw.settled != nil && isClosed(sw.settled) {
		b = sw.bequest
	}
	return b
}

// launch starts the child. Preflight is the configuration's.
func (sw *swap) launch(in inbox, sys *system, preflight func(context.Context, string) error) error {
	select {
	case <-sw.room:
		awaitExits(sw.ctx, sys, sw.exiting)
	case <-sw.ctx.Done():
		return errNotStarted
	}
	if err := process.Preflight(sys.binary, sys.dir()); err != nil {
		return err
	}
	if preflight != nil {
		if err := outlive(sw.ctx, func() error { return preflight(sw.ctx, sys.binary) }); err != nil {
			return fmt.Errorf("Config.Preflight: %w", err)
		}
	}
	near, far, err := sys.pair()
	if err != nil {
		return err
	}
	defer far.Close()
	asked, answer := helloAsked{sw, near, sys.strange(), make(chan helloAnswer, 1)}, helloAnswer{err: errNotStarted}
	if in.post(asked) {
		answer = <-asked.reply
	}
	if err = answer.err; err == nil {
		err = answer.hello.Send() // this process may be killed the moment after the start
	}
	var c child
	if err == nil {
		sw.started = time.Now()
		c, err = sys.start(far, func() bool { return !near.Hung() }, sw.hearOut)
	}
	if err != nil {
		_ = near.Close()
		return err
	}
	if !in.post(childStarted{sw, c}) {
		c.Kill()
	}
	_ = far.Close() // or its end would not be heard
	go sw.hear(in)
	go sw.follow(in, c)
	return nil
}

// follow tells the machine what becomes of the child, until the swap is over.
func (sw *swap) follow(in inbox, c child) {
	happens := func(e lifecycle.OldEvent) { in.post(machine.Child{Attempt: sw.attempt, Event: e}) }
	tick := time.NewTicker(lifecycle.Tick)
	defer tick.Stop()
	ready, silent, unheard := c.Ready(), 0, 0
	for {
		select {
		case <-ready:
			ready = nil
			happens(lifecycle.ChildReady)
		case <-c.Exited():
			in.post(childExited{sw})
			select {
			case <-sw.over: // its end of the link is the next main generation's
			case <-sw.gone:
				happens(lifecycle.ChildGone)
			case <-in.ended:
			}
			return
		case <-tick.C:
			if unheard++; !sw.heard() && unheard < mostUnheard { // it may be that the child serves
				continue
			}
			unheard = 0
			happens(lifecycle.OldTick)
			if isClosed(sw.gone) { // and no exit in the same second
				if silent++; silent == 2 {
					happens(lifecycle.ChildDeaf)
				}
			}
		case <-sw.over:
			return
		case <-in.ended:
			return
		}
	}
}

// mostUnheard: after so many ticks one is counted even if messages are unread. Else a child that sends half a message
// would stop the clock for ever.
const mostUnheard = 5

// heard tells whether every message of the child has been read.
func (sw *swap) heard() bool { return isClosed(sw.gone) || sw.link.Hung() || sw.link.Quiet() }

// hearOut waits, after the child's exit, until its last messages are read. While this process was halted, the child may
// have served and handed over: then the next main generation has the child's end of the link.
func (sw *swap) hearOut() {
	for range 1000 { // 5s of this process's own: half a message holds nothing up for ever
		if sw.heard() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// passOn tells the child what came for it, in order.
func (sw *swap) passOn(p machine.Pending, c *copies) {
	for _, v := range p.Verbs() {
		switch {
		case sw.peer.can(canForward):
			sw.forward(v, sw.generation-1, c)
		case v == machine.Stop:
			_ = sw.link.Post(message{Kind: kindStop, Reason: "asked for during the swap"})
		}
	}
}

// forward passes a command on that came to generation by.
func (sw *swap) forward(v machine.Verb, by int, c *copies) {
	m := message{Kind: kindForward, Signal: v, Generation: by}
	c.release(&m)
	_ = sw.link.Post(m)
}

// handOn passes the links to older generations on to the child. It waits for each until adopter.hear has returned.
func (sw *swap) handOn(in inbox, older []*elder, reader *protocol) {
	for _, e := range older {
		e.link.Pause()
		<-e.heard
		in.settle()                  // what it has said is known
		if !reader.can(canConfirm) { // such a reader does not tell the elder itself what it speaks
			e.tell(message{Kind: kindAble, Protocol: reader})
		}
		if sw.link.Send(message{Kind: kindElder, Generation: e.Generation, PID: e.PID, Report: &e.Peer,
			Base: &e.base}, e.link) != nil {
			_ = sw.link.Post(message{Kind: kindElder, Generation: e.Generation})
		}
		_ = e.link.Close()
	}
}

func (sw *swap) ask(m message, conns []syscall.Conn, answer chan<- []bool) error {
	sw.asking.Lock()
	defer sw.asking.Unlock()
	if sw.refused == nil {
		sw.asked <- answer // first: the answer may come before Send returns
		sw.refused = sw.link.Send(m, conns...)
	}
	return sw.refused
}

// hear hears the child, and later whichever generation has the child's end of the link.
func (sw *swap) hear(in inbox) {
	defer close(sw.gone)
	defer sw.link.Close() // nothing reads the link any more; closing it makes the peer's sends fail
	defer sw.withdrawAll()
	for {
		var m message
		files, err := sw.link.Receive(&m)
		for _, f := range files {
			_ = f.Close()
		}
		if err != nil {
			return
		}
		switch m.Kind {
		case kindTook:
			if m.ID != 0 {
				sw.answered(m)
				continue
			}
			select {
			case answer := <-sw.asked:
				answer <- m.Took
			default: // an answer to no question
				return
			}
		case kindProven:
			select {
			case sw.pid <- m.PID:
			default:
			}
		case kindOwns:
			select {
			case sw.owns <- m.Owned:
			default:
			}
		case kindAble:
			sw.meetReader(m.Protocol)
			in.post(childSpeaks{sw, m})
		case kindServing:
			in.post(childServes{sw, m.Unused})
		case kindFailed:
			in.post(machine.ChildExplains{Attempt: sw.attempt, Reason: m.Reason})
		case kindHurry:
			in.post(machine.Hurried{})
		}
	}
}
