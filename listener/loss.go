package listener

import (
	"time"
)

// Loss is one entry of the loss ledger: what this process did not answer, or not wholly, when it
// closed a connection while it was leaving.
type Loss struct {
	Kind     LossKind // what was lost
	Listener string   // network and address, as given to Listen
	Remote   string   // the client's address
	Unread   int      // bytes that the client had sent and the server had not read

	// Of a request that is cut off, as far as it is known: an answer that was on its way has no
	// method any more.
	Method, Path string
	Age          time.Duration
}

// LossKind is what was lost.
type LossKind string

// The kinds of losses. In TLS, and everywhere but on Linux, nothing tells what lies unread. Then a
// record of TLS that is long enough, or anything at all outside of TLS, counts as a request.
const (
	LostRequest LossKind = "request" // the whole head of a request, unread, or read and not begun
	LostCutOff  LossKind = "cut off" // a request in flight; a hijacked or untracked connection
	LostPart    LossKind = "part"    // the beginning of a request
	LostJunk    LossKind = "junk"    // bytes that begin no request
)
