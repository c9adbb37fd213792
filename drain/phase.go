package drain

import (
	"time"

	"github.com/baton-go/baton/health"
	"github.com/baton-go/baton/listener"
)

// Phase is what a service is doing. A generation goes through
//
//	starting → [probation →] ready ⇄ pulled → draining → stopped
//
// and from ready or pulled through swapping to draining, or back if the swap fails.
type Phase string

// The phases.
const (
	Starting  Phase = "starting"  // until Run has been called and Config.Ready has returned
	Probation Phase = "probation" // behind closed doors, while the old generation serves
	Ready     Phase = "ready"     // serves, and tells probers so
	Pulled    Phase = "pulled"    // serves everything, but tells probers to go away: a lame duck
	Swapping  Phase = "swapping"  // serves everything, while a new generation gets ready
	Draining  Phase = "draining"  // takes nothing new, finishes what is open
	Stopped   Phase = "stopped"   // Run returns, or has returned
)

// Event is a change of phase, or something else that has happened, as Kind says.
type Event struct {
	Time       time.Time       // when it happened
	Generation int             // of this process, as in Status
	PID        int             // of this process
	Phase      Phase           // after the event
	Kind       EventKind       // what has happened, for programs
	Message    string          // the log line, for people
	Err        error           // the reason, of a swap, a hook or the end; nil: none
	Open       listener.Counts // the connections of this process at that time
}

// Wait is what a generation waits for before it goes on.
type Wait struct {
	For   string    `json:"for"`            // in words: what, and how many
	Since time.Time `json:"since"`          // when the wait began
	Until time.Time `json:"until,omitzero"` // at the latest; zero: there is no bound
}

// Status is what a service is doing at one moment.
type Status struct {
	Generation int             `json:"generation"`          // 1 for the first process, each swap adds one
	PID        int             `json:"pid"`                 // of this process
	Version    string          `json:"version,omitempty"`   // Config.Version
	Phase      Phase           `json:"phase"`               // of this generation
	Since      time.Time       `json:"since"`               // of the phase
	Deadline   time.Time       `json:"deadline,omitzero"`   // while draining: when it is cut off
	Pulled     bool            `json:"pulled"`              // PingPath fails, by a pull or a stop
	Noticed    bool            `json:"noticed"`             // the probers have noticed the pull
	Unhealthy  string          `json:"unhealthy,omitempty"` // why Config.Healthy has last failed
	Listeners  []string        `json:"listeners"`           // network and address of each, as given to Listen
	Open       listener.Counts `json:"open"`                // the connections of this process
	Background []string        `json:"background"`          // the names of what Go and Lead run
	Older      []Peer          `json:"older"`               // that still drain, or have not exited; the oldest first
	Probers    []health.Prober `json:"probers"`             // the ledger, see health.State.Probers
	Swaps      int             `json:"swaps"`               // how many this process has tried
	Waits      *Wait           `json:"waits,omitempty"`     // what it waits for; nil: for nothing
	LastSwap   *SwapResult     `json:"last_swap,omitempty"` // or, before the first, the one by which it has come
	History    []Record        `json:"history"`             // of the service, the oldest first: 16, see Record
	Total      Totals          `json:"total"`               // the counters of all generations
}

// Peer is another generation of the service, as it last said: when it began to drain, and in each second in which
// something has changed. One that is halted says nothing, and keeps what it said.
type Peer struct {
	Generation int             `json:"generation"`        // of that process, as in Status
	PID        int             `json:"pid"`               // of that process
	Phase      Phase           `json:"phase"`             // Draining; Stopped: its Run has returned
	Since      time.Time       `json:"since,omitzero"`    // of the phase
	Deadline   time.Time       `json:"deadline,omitzero"` // when it is cut off
	Hurried    bool            `json:"hurried"`           // is to leave sooner, see Config.MaxGenerations
	Open       listener.Counts `json:"open"`              // the connections of that process
	Tasks      int             `json:"tasks"`             // of Go and Lead, still running
	Leads      []string        `json:"leads"`             // the names of what Lead runs; nil: it has not said
}

// Totals are what all generations of the service have counted since the first, as far as the main
// one knows. Each swap passes them on, and none of them falls. Those of a generation that has been
// replaced stay what it passed on. They begin at 0 with the first generation, and where one was
// killed before it could pass them on.
type Totals struct {
	Adopted     int64 `json:"adopted"`      // connections taken over from another generation
	Moved       int64 `json:"moved"`        // connections handed over to another generation
	Aged        int64 `json:"aged"`         // connections told to end, by Config.MaxConnectionAge
	Lost        int64 `json:"lost"`         // entries in the loss ledger: requests that may be lost
	CutOff      int64 `json:"cut_off"`      // of these, those cut off; and connections cut off of which less is known
	Part        int64 `json:"part"`         // beginnings of requests that their clients did not finish
	Junk        int64 `json:"junk"`         // what was no request
	Requests    int64 `json:"requests"`     // given to the handlers of Serve, ServeTLS and Track
	Aside       int64 `json:"aside"`        // of these: probes, and those of Service.Aside
	Swaps       int   `json:"swaps"`        // completed swaps
	FailedSwaps int   `json:"failed_swaps"` // failed swaps
	// LogDropped are the log lines that Config.Logger did not take: it was blocked and the queue
	// full, or it returned an error. What older generations drop while they drain is not in it.
	LogDropped int64 `json:"log_dropped"`
}

// SwapResult is how a swap ended.
type SwapResult struct {
	At         time.Time `json:"at"`              // when it ended
	Generation int       `json:"generation"`      // that was to take over
	Err        string    `json:"error,omitempty"` // empty: it did
}

// Record is a generation that became the main one, or a swap that failed. It passes on with each swap. Of 16, a new one
// takes the place of the oldest whose generation has ended, or never began.
type Record struct {
	At         time.Time `json:"at"`                // when it became the main one, or failed
	Generation int       `json:"generation"`        // that did, or was to
	Version    string    `json:"version,omitempty"` // its Config.Version, as far as it is known
	Err        string    `json:"error,omitempty"`   // why the swap failed; empty: it did not
	Gone       time.Time `json:"gone,omitzero"`     // when it had ended; zero: it has not, as far as is known
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
