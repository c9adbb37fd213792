//go:build unix

package drain

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/tlsconf"
	"github.com/baton-go/baton/listener"
)

// linkPair returns both ends of a link.
func linkPair(t testing.TB) (near, far *link.Link) {
	t.Helper()
	near, f, err := link.Pair()
	if err != nil {
		t.Fatal(err)
	}
	if far, err = link.Open(f); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// The fullest message of each kind that this version makes goes over a link.
func TestTheFullestMessagesFitTheLink(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("<", n) } // six bytes each, as JSON
	held := make(map[string]string)
	for i := range 256 {
		held[fmt.Sprint("unix ", i, long(108))] = fmt.Sprint("baton.", i, long(200))
	}
	var keys []tlsconf.TicketKey
	for range tlsconf.MaxTicketKeys {
		keys = append(keys, tlsconf.TicketKey{Key: bytes.Repeat([]byte{0xff}, 32), Made: time.Now()})
	}
	var holders []holder
	for i := range 64 {
		holders = append(holders, holder{PID: i, Leads: []string{long(maxHeld / 64)}, Until: time.Now()})
	}
	var tickets []listener.Ticket
	for range 64 {
		tickets = append(tickets, listener.Ticket{Listener: long(128), Idle: true})
	}
	var sealed []listener.Ticket
	for i := range maxOffered {
		sealed = append(sealed, listener.Ticket{Listener: fmt.Sprint(i, long(128)), Form: "sealed",
			State: make([]byte, maxOfferedState/maxOffered)})
	}
	peer := &Peer{Phase: Draining, Since: time.Now(), Deadline: time.Now()}
	var given message
	if err := given.give("full", strings.Repeat("x", maxGiven-2)); err != nil {
		t.Fatal(err)
	}
	if err := given.give("more", ""); err == nil {
		t.Error("parts may give more than a message has room for")
	}
	for _, m := range []message{
		{Kind: kindHello, Protocol: &spoken, Dir: long(4096), Held: held, Ports: []string{long(300), long(300)},
			TicketKeys: keys, Holders: holders},
		{Kind: kindAble, Protocol: &spoken},
		{Kind: kindFailed, Reason: long(maxReason)},
		{Kind: kindPromoted, PIDFile: long(4096), Control: long(108), Ledger: bytes.Repeat([]byte("<"), 64<<10),
			TicketKeys: keys, Holders: holders, Report: peer, Totals: &Totals{}, Parts: given.Parts},
		{Kind: kindElder, Report: peer, Base: &listener.Counts{}},
		{Kind: kindConns, Tickets: tickets}, {Kind: kindOffer, Batch: batchOf(sealed)},
		{Kind: kindAdopt, ID: 1, Tickets: []listener.Ticket{{Listener: long(128),
			State: bytes.Repeat([]byte{0xff}, maxState)}}},
		{Kind: kindTook, Took: make([]bool, 64), Reason: long(maxReason)},
	} {
		near, to := linkPair(t)
		got := make(chan error, 1)
		go func() {
			var arrived message
			_, err := to.Receive(&arrived)
			if err == nil && arrived.Kind != m.Kind {
				err = fmt.Errorf("%q arrives", arrived.Kind)
			}
			got <- err
		}()
		if err := near.Send(m); err != nil {
			t.Errorf("%s: %v", m.Kind, err)
			_ = near.Close()
		}
		if err := <-got; err != nil {
			t.Errorf("%s: %v", m.Kind, err)
		}
		_, _ = near.Close(), to.Close()
	}
}
