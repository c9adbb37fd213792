//go:build linux

package flow

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/baton-go/baton/drain"
)

// Kind is what clients of one kind of connection have seen of ten swaps in a
// row and a stop: a line of the second table in examples/README.md.
type Kind struct {
	Name   string // of the kind, such as "HTTP/1.1"
	Client string // what was on the other end, and how it behaves: "keep-alive, POST"
	Sent   int    // requests, messages or datagrams
	Lost   int    // of them. One that found nobody listening after the stop was never sent
	// Closed are the established connections that clients saw the service close
	// during the swaps: the stop closes all. -1 where there are none.
	Closed int
	// Resumed are the TLS handshakes that resumed a session, of those made after
	// the client's first. -1 without TLS.
	Resumed int
	// Except says why some may be lost, where that can't be helped.
	Except string
}

var kinds = table{"kinds", "| kind | client | sent | lost | closed by us | resumed |\n" +
	"| --- | --- | --- | --- | --- | --- |\n"}

// Report asserts that something was sent and that nothing was lost, but by
// Except, and prints the line of the table in examples/README.md. With
// BATON_TABLE=1 the line there is replaced; without, a line of that kind and
// client must be there.
func (k Kind) Report(t testing.TB) {
	t.Helper()
	if k.Sent == 0 {
		t.Errorf("%s, %s: nothing was sent", k.Name, k.Client)
	}
	lost := strconv.Itoa(k.Lost)
	switch {
	case k.Lost == 0:
	case k.Except != "":
		lost += ": " + k.Except
	default:
		t.Errorf("%s, %s: %d of %d lost, want 0", k.Name, k.Client, k.Lost, k.Sent)
	}
	key := fmt.Sprintf("| %s | %s |", k.Name, k.Client)
	kinds.report(t, key, fmt.Sprintf("%s %d | %s | %s | %s |", key, k.Sent, lost, countOrDash(k.Closed),
		countOrDash(k.Resumed)))
}

// Client is what clients of one sort have seen of swaps in a row: a line of the third table in examples/README.md.
type Client struct {
	Name, TLS        string
	Requests, Failed int
	Clients, Dials   int // Dials are the connections that they have made
	Swaps            int
}

var clients = table{"clients", "| client | TLS | requests | failed | clients → connections dialled | swaps |\n" +
	"| --- | --- | --- | --- | --- | --- |\n"}

// Report prints the line of the table, as Kind's does.
func (c Client) Report(t testing.TB) {
	t.Helper()
	key := fmt.Sprintf("| %s | %s |", c.Name, c.TLS)
	clients.report(t, key,
		fmt.Sprintf("%s %d | %d | %d → %d | %d |", key, c.Requests, c.Failed, c.Clients, c.Dials, c.Swaps))
}

func countOrDash(n int) string {
	if n < 0 {
		return "–"
	}
	return strconv.Itoa(n)
}

// Swaps reloads the service k times in a row, each of which must put another
// process in charge. Each waits until it leaves the old generations their time:
// of more than there may be, the oldest has 5s, and what it is to finish may
// take longer when the machine is busy.
func (n *Node) Swaps(k int) {
	n.t.Helper()
	most := max(4, n.Generations)
	for i := range k {
		Eventually(n.t, n.Addr+": room for one more generation", func() bool { return len(n.Status().Older) <= most-2 })
		before := n.PID()
		if err := (drain.Client{Socket: n.Path("control")}).Swap(context.Background()); err != nil {
			n.t.Fatalf("%s: swap %d of %d: %v", n.Addr, i+1, k, err)
		}
		Eventually(n.t, n.Addr+": another process in the PID file, and in charge", func() bool {
			after := n.PID()
			return after != before && after == n.Status().PID
		})
	}
}

// Stop stops the service, which must not have to cut anything off. It returns
// when every generation is gone.
func (n *Node) Stop() {
	n.t.Helper()
	n.Control("stop")
}
