package machine

import (
	"log/slog"
	"os"
	"time"
)

// Effect is something to be done. Effects are done in their order, by the goroutine that owns the
// state: one that takes its time goes on elsewhere, and ends with an event.
type Effect any // one of the types below

// What is said.
type (
	// Tell tells the program, the log and the service manager of an event.
	Tell struct {
		Kind    Kind
		Level   slog.Level
		Message string
		Phase   Phase
		Err     error
	}
	// Log writes a log line, and no more.
	Log struct {
		Level   slog.Level
		Message string
		Attrs   []any
		Once    bool // of little interest where it comes again
	}
	// Heard is a signal: what it brings about is told as brought about by it.
	Heard struct {
		Signal os.Signal
		Verb   Verb
	}
	// Refuse answers the caller of Swap.
	Refuse struct {
		Why string
		Is  Refusal
	}
)

// Refusal is why something is refused.
type Refusal uint8

// The refusals.
const (
	Unsupported Refusal = iota // by the platform, or by what has started the process
	Leaving                    // this generation drains, or is to
	Busy                       // with a swap
	TooEarly                   // the service is not ready
)

// A generation comes up.
type (
	// CallReady calls Config.Ready: ReadyReturned.
	CallReady struct{}
	// Probe begins probation: ProbationOver.
	Probe struct{ Hasten bool }
	// EndProbation ends it as soon as the self-check has passed.
	EndProbation struct{}
	// Prepare does everything that can fail before this generation owns anything: Prepared.
	Prepare struct{}
	// SayReady tells the old generation: Tick, until it has answered.
	SayReady struct{}
	// SayReadyAlone tells whatever has started this process, should it wait for that.
	SayReadyAlone struct{}
	// Acquire lets the owners acquire: Acquired.
	Acquire struct{}
	// TakeOver acquires all parts, opens the doors and says so.
	TakeOver struct {
		Pull bool // before the first probe
	}
	// Inherit takes what the old generation sends to one that has taken over without its word.
	Inherit struct{}
	// SayFailed tells the old generation that this one leaves.
	SayFailed struct{ Reason string }
	// Die ends the process by a signal.
	Die struct{ Signal os.Signal }
)

// A swap, in the old generation.
type (
	// BeginSwap starts the next generation: NotStarted, or Child.
	BeginSwap struct{ Attempt int }
	// GiveUp ends what is under way of that.
	GiveUp struct{}
	// Announce tells the service manager, pauses the reads of packet sockets, and with owners the handlers, and lets
	// the owners release: Announced, or NotReleased.
	Announce struct{}
	// Promote releases all parts, and sends what goes along: lifecycle's Promoted or NotPromoted.
	Promote struct {
		Next   Pending
		PullBy int
	}
	// LetGo gives up what both generations have had, for the new one serves.
	LetGo struct{}
	// PassOn tells the next generation what came for it.
	PassOn struct{ Pending Pending }
	// Forward passes a command on to the main generation.
	Forward struct {
		Verb Verb
		By   int
	}
	// AskToLeave tells the new process that it is not wanted.
	AskToLeave struct{ Why string }
	// Kill kills it.
	Kill struct{}
	// TakeBack makes this generation the owner of all parts again: TakenBack.
	TakeBack struct{ Released bool }
	// ResumeReads undoes a pause that came after TakeBack.
	ResumeReads struct{}
	// SwapFailed says why to everybody.
	SwapFailed struct {
		Err   error
		Why   string // the reason, where one was said
		Phase Phase
	}
)

// A generation leaves.
type (
	// BeginPull makes the probes fail: PullNoticed.
	BeginPull struct{}
	// DropVisitors makes that not wait for probers that have come only once: a person stops the service.
	DropVisitors struct{}
	// EndPull makes them succeed.
	EndPull struct{}
	// CallJoin calls Config.Join.
	CallJoin struct{}
	// CallLeave calls Config.Leave.
	CallLeave struct{}
	// AwaitBalancers waits until the balancers send no requests any more: TrafficOver.
	AwaitBalancers struct{}
	// Drain takes nothing new and finishes the rest: Emptied, DeadlineOver.
	Drain struct{ Replaced bool }
	// Hurry shortens that: HurryOver, unless all is Drained.
	Hurry struct{ Drained bool }
	// EndWork tells work that nothing hands it in any more: Drained.
	EndWork struct{}
	// AwaitOlder says that older generations are waited for.
	AwaitOlder struct{}
	// Linger waits: LingerOver.
	Linger struct{ For time.Duration }
	// CutOff ends what has not ended by itself: CutOffDone, when work has returned or had its time.
	CutOff struct {
		Why    string
		Within time.Duration
	}
	// CutOffNow doesn't wait for that.
	CutOffNow struct{}
	// CallGone lets the owners save what no other generation has got, and calls Config.Gone if Hook: GoneReturned.
	CallGone struct{ Hook bool }
	// Finish is the last thing that a generation does.
	Finish struct {
		Kind     Kind
		Message  string
		Err      error
		Replaced bool // another generation is the main one
		Guest    bool // this one never was: everything is the old one's
		Kill     bool // the process that was to be the next one
	}
)
