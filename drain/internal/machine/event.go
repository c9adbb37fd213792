package machine

import (
	"os"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// Event is something that has happened. Events of a swap name the attempt that they belong to: one
// that comes late, from an attempt that is over, changes nothing.
type Event any // one of the types below

// The program, its operator, its manager.
type (
	// RunCalled says that the program has called Run. Owns: it has owners.
	RunCalled struct{ Owns bool }
	// ReadyReturned says that Config.Ready has returned, or that there is none.
	ReadyReturned struct{ Err error }
	// Signaled says that a signal has come to this process.
	Signaled struct {
		Verb   Verb
		Signal os.Signal
		At     time.Time
	}
	// Asked says that the program, or a client of the control socket, has asked for something.
	Asked struct{ Verb Verb }
	// Forwarded says that another generation passes a command on.
	Forwarded struct {
		Verb Verb
		By   int // the generation to which it came
	}
	// ContextOver says that the context of Run has ended.
	ContextOver struct{}
	// KeeperGone says that the keeper has ended.
	KeeperGone struct{}
	// ServerFailed says that a server, or what was to become one, has failed.
	ServerFailed struct{ Err error }
)

// A generation comes up.
type (
	// ProbationOver says that the self-check has failed, or that probation has passed without that.
	ProbationOver struct{ Err error }
	// Prepared says that what Prepare began is done.
	Prepared struct{ Err error }
	// Acquired says that the owners have acquired, or why not.
	Acquired struct{ Err error }
	// Tick says that a second of waiting for the old generation is over.
	Tick struct{}
	// Promoted is the old generation's word that this one is the main one.
	Promoted struct {
		Pending Pending
		PullBy  int  // generation to which the pull in Pending came
		Join    bool // it is not in the registry
	}
	// ToldToLeave is the word of an old generation that this one is to stop.
	ToldToLeave struct{ Reason string }
	// PredecessorGone says that the old generation has ended before it let go.
	PredecessorGone struct{}
	// Older says how many older generations live.
	Older struct{ Count int }
)

// A swap, in the old generation.
type (
	// NotStarted says that the new process could not be started.
	NotStarted struct {
		Attempt int
		Err     error
	}
	// SwapTimedOut says that Config.SwapTimeout is over.
	SwapTimedOut struct {
		Attempt int
		Why     string
	}
	// ChildSpeaks says what the new process speaks, or that it has had the time to say so.
	ChildSpeaks struct {
		Attempt  int
		Forwards bool          // it heeds forwarded commands
		Misfit   error         // why there can be no swap to it
		Took     time.Duration // from its start until then; 0: not known
	}
	// ChildExplains is the word of the new process on why it leaves.
	ChildExplains struct {
		Attempt int
		Reason  string
	}
	// NotReleased says why this generation goes on: what is to be over before its owners release is not, or they can't.
	NotReleased struct {
		Attempt int
		Why     string
	}
	// Child is what the machine of the two sides goes by.
	Child struct {
		Attempt int
		Event   lifecycle.OldEvent
		Mute    bool   // of Announced: see lifecycle.Old
		Extra   int    // likewise
		Why     string // of NotPromoted: empty where the process is gone
	}
	// TakenBack says that what TakeBack began is done.
	TakenBack struct {
		Attempt int
		Err     error // why the new process has ended
		PIDFile error // why the PID file names it still
	}
)

// A generation leaves.
type (
	// PullNoticed says that a pull waits for the balancers no longer. They have noticed, unless Why says otherwise.
	PullNoticed struct{ Why Unnoticed }
	// TrafficOver says that, besides, Config.Leave has returned.
	TrafficOver struct{}
	// Emptied says that no connection is open here any more. Work may run.
	Emptied struct{}
	// Drained says that no work runs either.
	Drained struct{}
	// LingerOver says that the time for late signals is over.
	LingerOver struct{}
	// DeadlineOver says that DrainTimeout is over.
	DeadlineOver struct{}
	// HurryOver says that KillGrace is over, after Hurried.
	HurryOver struct{}
	// Hurried is the word of a newer generation that this one is to leave sooner.
	Hurried struct{}
	// CutOffDone says that what CutOff began is done. Err says what was cut off.
	CutOffDone struct{ Err error }
	// GoneReturned says that the owners have saved, and Config.Gone has returned, or had its time. Err: they have not
	// saved.
	GoneReturned struct{ Err error }
)

// Unnoticed is why a pull waits no longer that the balancers have not noticed.
type Unnoticed uint8

// The reasons.
const (
	Overdue Unnoticed = iota + 1 // PullMax is over
	Unasked                      // no prober asks
)
