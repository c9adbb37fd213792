package drain

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/listener"
)

func someTickets() []listener.Ticket {
	return []listener.Ticket{
		{Listener: "tcp :80", Idle: true, Left: 300_000},
		{Listener: "tcp :80"},
		{Listener: "unix /s", Hijacked: true, Idle: true},
		{Listener: "tcp :80", Form: "sealed", State: bytes.Repeat([]byte{0, 255}, 200)},
		{},
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	whole := batchOf(someTickets())
	if got, err := ticketsOf(whole); err != nil || !reflect.DeepEqual(clean(got), someTickets()) {
		t.Errorf("%+v, %v", got, err)
	}
	// This one has more than this version knows.
	later := append([]byte{batchForm, 1, 1, 'l'}, 8, 1, 0, flagIdle|1<<6, 1, 's', 7, 7, 7)
	if got, err := ticketsOf(later); err != nil || !reflect.DeepEqual(got,
		[]listener.Ticket{{Listener: "l", Idle: true, State: []byte("s"), Left: 7}}) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, b := range map[string][]byte{
		"another form":            {2, 0},
		"nothing":                 {},
		"names without an end":    {batchForm, 255, 255, 255, 255, 255, 255, 255, 255, 127},
		"a name too long":         {batchForm, 1, 9, 'l'},
		"a ticket too long":       {batchForm, 0, 9, 0},
		"a ticket without a form": {batchForm, 0, 1, 0},
		"a name that is not":      {batchForm, 0, 4, 1, 0, 0, 0},
		"a form that is not":      {batchForm, 0, 4, 0, 1, 0, 0},
		"a number too long":       {batchForm, 0, 12, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0},
		"a state too long":        {batchForm, 0, 4, 0, 0, 0, 1},
		"an age without an end":   {batchForm, 0, 5, 0, 0, 0, 0, 255},
	} {
		if got, err := ticketsOf(b); err == nil || got != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for n := range whole {
		_, _ = ticketsOf(whole[:n]) // whatever it is, it has an end
	}
}

// clean has nil for no state.
func clean(all []listener.Ticket) []listener.Ticket {
	for i := range all {
		if len(all[i].State) == 0 {
			all[i].State = nil
		}
	}
	return all
}

// Each version gets what it can read, and all that was not taken is known.
func TestHandoverToVersions(t *testing.T) {
	t.Parallel()
	able := func(can ...ability) *protocol { return &protocol{Version: 2, Can: can} }
	all, unsealed := []bool{true, true, true, true, true}, []bool{true, true, true, false, true}
	for name, x := range map[string]struct {
		reader *protocol
		reads  []string // what comes, one after another
		took   []bool
	}{
		"batch":                    {able(canConfirm, canBatch), []string{"offer batch 5"}, all},
		"confirm":                  {able(canConfirm), []string{"offer 4"}, unsealed},
		"neither":                  {nil, []string{"conns 4"}, unsealed},
		"batch, then confirm only": {able(canConfirm, canBatch), []string{"not read", "offer 4"}, unsealed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, sw, far, _, held := offering(t, time.Hour)
			sw.meetReader(x.reader)
			over := make(chan []bool, 1)
			go func() {
				took, err := sw.handover(someTickets(), slices.Repeat([]syscall.Conn{held.(syscall.Conn)}, 5))
				if err != nil {
					t.Error(err)
				}
				over <- took
			}()
			for _, want := range x.reads {
				m := next(t, far)
				for m.Kind == kindYours {
					m = next(t, far)
				}
				got, n := string(m.Kind), len(m.Tickets)
				if len(m.Batch) > 0 {
					tickets, err := ticketsOf(m.Batch)
					if err != nil {
						t.Error(err)
					}
					got, n = got+" batch", len(tickets)
				}
				if want == "not read" { // by a version that has got the link
					_ = far.Send(message{Kind: kindAble, Protocol: able(canConfirm)})
					n = 0
				} else if got += " " + string(rune('0'+n)); got != want {
					t.Errorf("%q comes instead of %q", got, want)
				}
				_ = far.Send(message{Kind: kindTook, ID: m.ID, Took: slices.Repeat([]bool{true}, n)})
			}
			if took := <-over; !slices.Equal(took, x.took) {
				t.Errorf("%v taken; want %v", took, x.took)
			}
		})
	}
}

func TestPortions(t *testing.T) {
	t.Parallel()
	big := listener.Ticket{Form: "sealed", State: []byte(strings.Repeat("x", maxOfferedState/2))}
	for _, x := range []struct {
		tickets []listener.Ticket
		want    int
	}{
		{make([]listener.Ticket, 1), 1}, {make([]listener.Ticket, maxOffered), maxOffered},
		{make([]listener.Ticket, maxOffered+1), maxOffered}, {[]listener.Ticket{big, big, big}, 2},
		{[]listener.Ticket{{State: make([]byte, maxOfferedState+1)}, {}}, 1},
	} {
		if got := portion(x.tickets); got != x.want {
			t.Errorf("%d; want %d", got, x.want)
		}
	}
}
