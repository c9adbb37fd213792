package listener

import (
	"net/http"

	"github.com/baton-go/baton/listener/internal/sniff"
)

// tlsRecords is a connection under TLS: its keys are the server's, so only records can be seen.
//
// It can't be moved. It is closed when it has rested for a grace, without CloseWrite: the server
// closes it by an alert. A record that comes between two requests gives it its whole grace again. A
// record that has begun has one grace to end. What lies unread counts by the length of its records.
type tlsRecords struct{ http1 }

func (c tlsRecords) movable() bool { return false }

// atRest does not look at what crypto/tls has read of an idle connection. Unless net/http has set its next deadline,
// that was no request, such as a KeyUpdate, or a part of a record.
func (c tlsRecords) atRest(int, bool) bool {
	return c.awaitsRequest() && !c.input.records.Partial() &&
		(c.is(http.StateNew) || c.settled() || c.wrapper.hides.Load() && !c.input.sinceIdle.Load() ||
			c.talk != nil && c.talk.rests())
}

func (c tlsRecords) received(p []byte, _ int) {
	begins := !c.input.records.Partial()
	c.input.records.Feed(p)
	c.receivedRecord(begins, c.awaitsRequest())
}

// receivedRecord is called when records has followed what was read. Begins tells that a record
// begins there.
func (c tlsRecords) receivedRecord(begins, waits bool) {
	if in := c.input.records.Partial(); in != c.input.inRecord.Load() {
		c.input.inRecord.Store(in)
	}
	if !waits {
		return
	}
	if c.set.leaving.Load() == nil { // a look at the clock for each record would cost more than all else here
		if !c.input.beforeLeave.Load() {
			c.input.beforeLeave.Store(true)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since.quiet = now()
	if begins {
		c.since.begun = c.since.quiet
	}
}

func (c tlsRecords) part() LossKind {
	if c.closing.inHead.Load() || c.input.inRecord.Load() ||
		c.is(http.StateIdle) && c.input.sinceIdle.Load() && !c.settled() {
		return LostPart
	}
	return ""
}

func (c tlsRecords) unread(p []byte, n int) LossKind {
	p, n, part := c.behindProxy(p, n)
	if part || c.input.inRecord.Load() && n > 0 {
		return LostPart
	}
	return LossKind(sniff.RecordsKind(p, n))
}

func (c tlsRecords) behind(int) LossKind { return "" }

// rejects tells a record with an answer from those of a handshake, and from short ones.
func (c tlsRecords) rejects(p []byte) bool {
	return sniff.Begins(p, "HTTP/1.") || c.is(http.StateIdle) &&
		p[0] == sniff.ApplicationData && len(p) > sniff.MaxAlert
}

// unsealed is a connection of HTTP/1 over TLS that can be moved. It comes to rest as one in plain text, and is closed
// as others over TLS: what has not been read are records.
type unsealed struct{ tlsRecords }

// movable: what was taken has no seal until a TLSListener of this set has accepted it.
func (c unsealed) movable() bool { return !c.set.keepTLS.Load() && c.seal != nil && c.seal.Movable() }

func (c unsealed) atRest(int, bool) bool {
	rest := c.tlsRecords.atRest(0, false)
	c.serverRead.moves = rest && c.http1.atRest(c.serverRead.offered, c.serverRead.ahead)
	return rest
}
