package drain

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/tlsconf"
	"github.com/baton-go/baton/listener"
)

// message is what one generation tells another over their link. The old one begins:
//
//	old → new   hello      you are generation N, a manager holds these sockets, TLS sessions have these keys
//	new → old   able       this is what I can
//	new → old   failed     I am leaving, because
//	new → old   proven     I am process N, where a service manager is to follow it
//	new → old   owns       these are the names of my owners
//	            (Ready: through tableflip's pipe)
//	old → new   promoted   you are the main one, and this is what goes with it
//	new → old   serving    I am: my doors are open, and these sockets of yours I don't use
//	old → new   elder      a link to a generation that drains still
//	old → new   conns      take these connections
//	old → new   adopt      take this connection of the application's, and its state
//	new → old   took       I have these, or none because
//	old → new   offer      as conns, or adopt where it is its own: take these, and wait for my word
//	new → old   took       I can have these, or none because
//	old → new   yours      they are yours
//	old → new   withdrawn  they are not: your answer was too late; close them here, which their clients do not notice
//	old → new   request    serve those that I have read, and that come over this connection; see package forward
//	old → new   report     I have let go, and so far am I with my drain
//	old → new   stop       leave
//	old → new   forward    a signal that was meant for the main generation
//	new → old   hurry      there are too many of us
//
// A generation that drains keeps its end; the other end is handed on to each main generation in turn. So connections
// that come to rest late go straight to the main one, and a link's end tells it that the elder is gone.
//
// Two versions of the library meet in each swap to a new version, and in each swap back. So the names here are
// frozen: what is new gets a new one, and an entry in abilities. A version ignores a kind or a field that it does not
// know.
type message struct {
	Kind       kind                `json:"kind"`
	Generation int                 `json:"generation,omitempty"`
	PID        int                 `json:"pid,omitempty"`
	Reason     string              `json:"reason,omitempty"`
	Pulled     bool                `json:"pulled,omitempty"`
	Swap       bool                `json:"swap,omitempty"`
	Join       bool                `json:"join,omitempty"` // the old generation is not in the registry
	Ledger     []byte              `json:"ledger,omitempty"`
	PIDFile    string              `json:"pid_file,omitempty"` // which the new one owns from now on
	Control    string              `json:"control,omitempty"`  // the control socket, likewise
	Ports      []string            `json:"ports,omitempty"`    // where the old one listens too, or may; see ports
	Held       map[string]string   `json:"held,omitempty"`     // by a service manager, see listener.Held
	Tickets    []listener.Ticket   `json:"tickets,omitempty"`
	Took       []bool              `json:"took,omitempty"`
	ID         int                 `json:"id,omitempty"`    // of adopt and offer, whose answers may come out of order
	Own        bool                `json:"own,omitempty"`   // of offer: the connection is the application's
	Batch      []byte              `json:"batch,omitempty"` // of offer, in place of tickets: see batchOf
	TicketKeys []tlsconf.TicketKey `json:"ticket_keys,omitempty"`
	Report     *Peer               `json:"report,omitempty"` // on its sender, or on the generation whose link it is
	Base       *listener.Counts    `json:"base,omitempty"`   // what of that is in the totals
	Totals     *Totals             `json:"totals,omitempty"`
	Older      int                 `json:"older,omitempty"`     // of promoted: links to come
	Protocol   *protocol           `json:"protocol,omitempty"`  // of hello and able
	PullLast   bool                `json:"pull_last,omitempty"` // the pull is later than what Swap asks for
	PullBy     int                 `json:"pull_by,omitempty"`   // generation to which the pull came
	Signal     machine.Verb        `json:"signal,omitempty"`    // of forward; Generation is the one to which it came
	Dir        string              `json:"dir,omitempty"`       // of hello: see process.Origin.Dir
	Score      string              `json:"score,omitempty"`     // of hello: see process.Score
	Strange    []string            `json:"strange,omitempty"`   // of hello: unix sockets whose files are others'
	Unused     []string            `json:"unused,omitempty"`    // of serving: see listener.Set.Unclaimed
	Holders    []holder            `json:"holders,omitempty"`   // of hello and promoted: see Lead

	Owned []string `json:"owned,omitempty"` // of owns; of promoted: what the descriptors are the states of

	secret []byte // what Batch becomes over there

	Build string `json:"build,omitempty"` // of able: the version of the program

	Parts map[string]json.RawMessage `json:"parts,omitempty"` // of promoted: see give
}

// Secret implements link.Secretive.
func (m message) Secret() (field string, b []byte) { return "batch", m.secret }

// maxGiven is the most that all parts together may give, in bytes: a message has room for it.
const maxGiven = 64 << 10

// give makes what a part releases go along, under the part's name, which never changes.
func (m *message) give(part string, what any) error {
	text, err := json.Marshal(what)
	size := len(text)
	for _, given := range m.Parts {
		size += len(given)
	}
	if err == nil && size > maxGiven {
		err = fmt.Errorf("%d bytes with those of the other parts are more than %d", size, maxGiven)
	}
	if err != nil {
		return fmt.Errorf("drain: part %s: %w", part, err)
	}
	if m.Parts == nil {
		m.Parts = make(map[string]json.RawMessage)
	}
	m.Parts[part] = text
	return nil
}

// take reports whether the part has been given something that into could be made of. A version that knows the part by
// another form has given nothing.
func (m *message) take(part string, into any) bool {
	text, ok := m.Parts[part]
	return ok && json.Unmarshal(text, into) == nil
}

type kind string

const (
	kindHello    kind = "hello"
	kindAble     kind = "able"
	kindFailed   kind = "failed"
	kindProven   kind = "proven"
	kindPromoted kind = "promoted"
	kindServing  kind = "serving"
	kindElder    kind = "elder"
	kindConns    kind = "conns"
	kindAdopt    kind = "adopt"
	kindTook     kind = "took"

	kindOffer     kind = "offer"
	kindYours     kind = "yours"
	kindWithdrawn kind = "withdrawn"

	kindOwns    kind = "owns"
	kindRequest kind = "request"

	kindReport  kind = "report"
	kindStop    kind = "stop"
	kindForward kind = "forward"
	kindHurry   kind = "hurry"
)

// holder is a generation that may still run functions of Lead, and whose link is not here: it is
// yet to come, or has ended before the process did.
type holder struct {
	PID   int       `json:"pid"`
	Leads []string  `json:"leads,omitempty"` // none: it may be any
	Until time.Time `json:"until,omitzero"`  // when the process has ended in any case
}

// word is what a message of kind promoted asks of the machine.
func (m message) word() machine.Promoted {
	return machine.Promoted{
		Pending: machine.Pending{Swap: m.Swap, Pull: m.Pulled, PullLast: m.PullLast},
		PullBy:  m.PullBy, Join: m.Join,
	}
}

// maxReason is the most of an error that goes into a message, in bytes.
const maxReason = 1 << 10

func reason(err error) string { return cut(err.Error()) }

func cut(text string) string { return text[:min(len(text), maxReason)] }

// protocol says what a generation speaks. One that says nothing is of version 1, which had no protocol.
type protocol struct {
	Version int       `json:"version"`
	Oldest  int       `json:"oldest"` // version that it can be swapped with
	Can     []ability `json:"can"`
}

// ability is what a peer without it is not asked for.
type ability string

const (
	canServe   ability = "serving" // says when its doors are open, and is waited for
	canForward ability = "forward" // heeds forwarded signals
	canConfirm ability = "confirm" // waits for the word on what it is offered

	canOwn ability = "own" // says what it owns, and acquires that before it serves

	canBatch ability = "batch" // reads tickets in batches
	canTLS   ability = "tls"   // takes connections over TLS, if their listener does
	canHTTP2 ability = "h2"    // of HTTP/2, too
)

// spoken is what this version speaks.
var spoken = protocol{Version: 2, Oldest: 1, Can: []ability{canServe, canForward, canConfirm, canOwn, canBatch}}

// speaks is what a generation of that configuration speaks.
func (c *Config) speaks() *protocol {
	p := spoken
	if !c.KeepTLS && listener.MovesTLS() {
		p.Can = append(slices.Clone(p.Can), canTLS, canHTTP2)
	}
	return &p
}

func (p *protocol) can(what ability) bool { return p != nil && slices.Contains(p.Can, what) }

// fits tells why a peer that speaks p can't be swapped with this one.
func (p *protocol) fits() error {
	version := 1
	if p != nil {
		version = p.Version
	}
	switch {
	case version < spoken.Oldest:
		return fmt.Errorf("drain: the other generation speaks version %d of the protocol between "+
			"generations, this one needs %d; swap to a version of the library between the two first",
			version, spoken.Oldest)
	case p != nil && p.Oldest > spoken.Version:
		return fmt.Errorf("drain: the other generation needs version %d of the protocol between "+
			"generations, this one speaks %d; swap to a version of the library between the two first",
			p.Oldest, spoken.Version)
	}
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
