//go:build unix

package drain

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/machine"
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
	for range maxLeads {
		peer.Leads = append(peer.Leads, long(maxLeadName))
	}
	owned := slices.Repeat([]string{long(100)}, 32) // as package owned allows
	sockets := slices.Collect(maps.Keys(held))
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	files := func(n int) []syscall.Conn { return slices.Repeat([]syscall.Conn{null}, n) }
	var given message
	if err := given.give("full", strings.Repeat("x", maxGiven-2)); err != nil {
		t.Fatal(err)
	}
	if err := given.give("more", ""); err == nil {
		t.Error("parts may give more than a message has room for")
	}
	said := map[string]bool{}
	for _, m := range []struct {
		message
		files []syscall.Conn
	}{
		{message{Kind: kindHello, Protocol: &spoken, Dir: long(4096), Held: held, Ports: []string{long(300), long(300)},
			TicketKeys: keys, Holders: holders, Strange: sockets, Score: "-1000"}, nil},
		{message{Kind: kindAble, Protocol: &spoken, Build: long(maxReason)}, nil},
		{message{Kind: kindFailed, Reason: long(maxReason)}, nil},
		{message{Kind: kindProven, PID: 1 << 22}, nil},
		{message{Kind: kindOwns, Owned: owned}, nil},
		{message{Kind: kindPromoted, PIDFile: long(4096), Control: long(108), Ledger: bytes.Repeat([]byte("<"), 64<<10),
			TicketKeys: keys, Holders: holders, Report: peer, Totals: &Totals{}, Parts: given.Parts, Owned: owned},
			files(len(owned))},
		{message{Kind: kindServing, Unused: sockets}, nil},
		{message{Kind: kindElder, Report: peer, Base: &listener.Counts{}}, files(1)},
		{message{Kind: kindConns, Tickets: tickets}, files(len(tickets))},
		{message{Kind: kindOffer, Batch: batchOf(sealed)}, files(maxOffered)},
		{message{Kind: kindAdopt, ID: 1, Tickets: []listener.Ticket{{Listener: long(128),
			State: bytes.Repeat([]byte{0xff}, maxState)}}}, files(1)},
		{message{Kind: kindTook, Took: make([]bool, 64), Reason: long(maxReason)}, nil},
		{message{Kind: kindYours, ID: 1 << 30}, nil},
		{message{Kind: kindWithdrawn, ID: 1 << 30}, nil},
		{message{Kind: kindRequest}, files(1)},
		{message{Kind: kindReport, Report: peer}, nil},
		{message{Kind: kindStop, Reason: long(maxReason)}, nil},
		{message{Kind: kindForward, Signal: machine.Restore, Generation: 1 << 30, Parts: given.Parts}, nil},
		{message{Kind: kindHurry}, nil},
	} {
		said[string(m.Kind)] = true
		near, to := linkPair(t)
		got := make(chan error, 1)
		go func() {
			var arrived message
			came, err := to.Receive(&arrived)
			if err == nil && (arrived.Kind != m.Kind || len(came) != len(m.files)) {
				err = fmt.Errorf("%q arrives with %d descriptors", arrived.Kind, len(came))
			}
			closeAll(came)
			got <- err
		}()
		if err := near.Send(m.message, m.files...); err != nil {
			t.Errorf("%s: %v", m.Kind, err)
			_ = near.Close()
		}
		if err := <-got; err != nil {
			t.Errorf("%s: %v", m.Kind, err)
		}
		_, _ = near.Close(), to.Close()
	}
	sameNames(t, "The fullest messages", slices.Collect(maps.Keys(said)), wireConstants(t, "kind"))
}

// An owner may say as much as it likes of why it can't release: the child is asked to leave all the same.
func TestTheChildIsAskedToLeaveForAnyReason(t *testing.T) {
	t.Parallel()
	near, far := linkPair(t)
	r := &runner{swap: &swap{link: near}}
	r.askToLeave(strings.Repeat("x", link.MaxText))
	near.Flush(lastWords)
	_ = near.Close()
	var m message
	if _, err := far.Receive(&m); err != nil || m.Kind != kindStop {
		t.Errorf("%q, %v", m.Kind, err)
	}
}
