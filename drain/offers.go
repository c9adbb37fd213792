package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/baton-go/baton/listener"
)

var errOfferLate = errors.New("the next generation does not answer")

// offers are those that the next generation has not answered. One that confirms takes nothing
// before it has heard that its answer counts: an offer is answered once, by "yours" or by
// "withdrawn", under mu. The end of the link counts as "yours" over there, so the link does not end
// before a "withdrawn" is through, but with this process.
type offers struct {
	bound time.Duration // set before use

	mu       sync.Mutex // guards what follows
	confirms bool       // the process that reads the other end now waits for the word
	batches  bool       // it reads batches
	last     int
	waiting  map[int]waitingOffer
}

type waitingOffer struct {
	answer chan<- answer
	begun  time.Time
}

type answer struct {
	message
	err error // why there is none
}

func (o *offers) confirmed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.confirms
}

func (o *offers) batched() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.batches
}

func (o *offers) add() (id int, answered <-chan answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting == nil {
		o.waiting = make(map[int]waitingOffer)
	}
	o.last++
	c := make(chan answer, 1)
	o.waiting[o.last] = waitingOffer{c, time.Now()}
	return o.last, c
}

// remove returns nil where the offer has been answered.
func (o *offers) remove(id int) chan<- answer {
	c := o.waiting[id].answer
	delete(o.waiting, id)
	return c
}

// offer offers connections, and returns the answer. After an error they are this generation's,
// unless it is about to exit, as the end of ctx says: it can't be given anything back.
func (sw *swap) offer(ctx context.Context, m message, conns ...syscall.Conn) (message, error) {
	o := &sw.offers
	id, answered := o.add()
	m.ID = id
	sent, recall, err := sw.link.Lodge(m, conns...)
	arrived := err == nil // as far as is known
	var late <-chan time.Time
	if m.Kind == kindOffer {
		t := time.NewTimer(o.bound)
		defer t.Stop()
		late = t.C
	}
	for err == nil {
		select {
		case a := <-answered:
			return a.message, a.err
		case err = <-sent:
			arrived, sent = err == nil, nil
		case <-late:
			err = fmt.Errorf("%w within %v", errOfferLate, o.bound)
		case <-sw.gone:
			err = errors.New("the next generation is gone")
		case <-ctx.Done():
			_ = sw.link.Close()
			err = ctx.Err()
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.remove(id) == nil { // its last word
		a := <-answered
		return a.message, a.err
	}
	if arrived && !recall() && m.Kind == kindOffer && ctx.Err() == nil {
		_ = sw.link.Insist(message{Kind: kindWithdrawn, ID: id})
	}
	return message{}, err
}

// answered is told of each answer. One to no question is none, nor is one that is too late.
func (sw *swap) answered(m message) {
	o := &sw.offers
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.confirms && time.Since(o.waiting[m.ID].begun) > o.bound { // as offer is about to find out
		return
	}
	if c := o.remove(m.ID); c != nil {
		if o.confirms {
			_ = sw.link.Insist(message{Kind: kindYours, ID: m.ID})
		}
		c <- answer{message: m}
	}
}

// meetReader is told what the one speaks that reads the other end of the link from now on.
func (sw *swap) meetReader(p *protocol) {
	o := &sw.offers
	o.mu.Lock()
	before := o.confirms
	o.confirms, o.batches = p.can(canConfirm), p.can(canBatch)
	stops := before && !o.confirms
	o.mu.Unlock()
	if stops {
		sw.withdrawAll() // it doesn't know what an offer is
	}
}

// withdrawAll withdraws what is not answered. The link may be closed then.
func (sw *swap) withdrawAll() {
	o := &sw.offers
	o.mu.Lock()
	for id := range o.waiting {
		_ = sw.link.Insist(message{Kind: kindWithdrawn, ID: id})
		o.remove(id) <- answer{err: errors.New("the next generation is gone")}
	}
	o.mu.Unlock()
	sw.link.Flush(lastWords)
}

// giveOwn offers a connection of the application's to whichever generation is the main one, and
// returns nil when it has it.
func (sw *swap) giveOwn(ctx context.Context, t listener.Ticket, c syscall.Conn) error {
	m := message{Kind: kindOffer, Own: true, Tickets: []listener.Ticket{t}}
	if !sw.offers.confirmed() {
		m.Kind, m.Own = kindAdopt, false
	}
	a, err := sw.offer(ctx, m, c)
	if err == nil && (len(a.Took) != 1 || !a.Took[0]) {
		err = refused("the next generation refuses: " + cmp.Or(a.Reason, "no reason"))
	}
	return err
}
