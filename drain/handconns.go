package drain

import (
	"context"
	"errors"
	"syscall"

	"github.com/baton-go/baton/listener"
)

// An offer has at most that many connections, and that many bytes of their states: each version has a bound for the
// text of a message, and for its descriptors. One state alone may have maxState.
const (
	maxOffered      = 64
	maxOfferedState = 512 << 10
)

// handover is the listener.Handover to the child.
func (sw *swap) handover(tickets []listener.Ticket, conns []syscall.Conn) (took []bool, err error) {
	for len(took) < len(tickets) && err == nil {
		from := len(took)
		to := from + portion(tickets[from:])
		var some []bool
		some, err = sw.handSome(tickets[from:to], conns[from:to])
		took = append(took, some[:min(len(some), to-from)]...)
		took = append(took, make([]bool, to-len(took))...)
	}
	return took, err
}

// portion is how many of them go in one offer.
func portion(tickets []listener.Ticket) int {
	size := 0
	for i, t := range tickets {
		if size += len(t.State); i == maxOffered || i > 0 && size > maxOfferedState {
			return i
		}
	}
	return len(tickets)
}

func (sw *swap) handSome(tickets []listener.Ticket, conns []syscall.Conn) ([]bool, error) {
	if sw.offers.batched() {
		batch := batchOf(tickets)
		a, err := sw.offer(context.Background(), message{Kind: kindOffer, secret: batch}, conns...)
		clear(batch) // there may be secrets in it
		if err != nil || len(a.Took) > 0 || sw.offers.batched() {
			return a.Took, err
		}
		// A generation of an older version has got the link meanwhile, has found no ticket, and has nothing.
	}
	var plain []listener.Ticket // others mean nothing to that version
	var theirs []syscall.Conn
	for i, t := range tickets {
		if t.Form == "" {
			plain, theirs = append(plain, t), append(theirs, conns[i])
		}
	}
	if len(plain) == 0 {
		return nil, nil
	}
	some, err := sw.handPlain(plain, theirs)
	took := make([]bool, len(tickets))
	for i, t := range tickets {
		if t.Form == "" && len(some) > 0 {
			took[i], some = some[0], some[1:]
		}
	}
	return took, err
}

// handPlain is for a generation that doesn't read batches.
func (sw *swap) handPlain(tickets []listener.Ticket, conns []syscall.Conn) ([]bool, error) {
	if sw.offers.confirmed() {
		a, err := sw.offer(context.Background(), message{Kind: kindOffer, Tickets: tickets}, conns...)
		return a.Took, err
	}
	answer := make(chan []bool, 1)
	if err := sw.ask(message{Kind: kindConns, Tickets: tickets}, conns, answer); err != nil {
		return nil, err
	}
	select {
	case took := <-answer:
		return took, nil
	case <-sw.gone:
	}
	select {
	case took := <-answer: // its last word
		return took, nil
	default:
		return nil, errors.New("drain: the next generation is gone")
	}
}
