// Package machine decides what one generation of a service does. It does nothing by itself: a State
// is a value, Step says what it becomes when something happens, and what is to be done then. It has
// no clock, no lock and does no I/O, so a test goes through all of it.
//
// What the two sides of a swap agree on is in package lifecycle, whose machines are parts of State.
package machine

import "time"

// Phase is what a generation is doing: see drain.Phase, which has the same values.
type Phase string

// The phases.
const (
	Starting  Phase = "starting"
	Probation Phase = "probation"
	Ready     Phase = "ready"
	Pulled    Phase = "pulled"
	Swapping  Phase = "swapping"
	Draining  Phase = "draining"
	Stopped   Phase = "stopped"
)

// Kind is what an event is: see drain.EventKind.
type Kind string

// The kinds of events that the machine tells of.
const (
	KindProbation     Kind = "probation"
	KindReplaced      Kind = "replaced"
	KindPulled        Kind = "pulled"
	KindPullNoticed   Kind = "pull-noticed"
	KindPullOverdue   Kind = "pull-overdue"
	KindPullUnasked   Kind = "pull-unasked"
	KindRestored      Kind = "restored"
	KindStopping      Kind = "stopping"
	KindFailing       Kind = "failing"
	KindDraining      Kind = "draining"
	KindStopped       Kind = "stopped"
	KindCutOff        Kind = "cut-off"
	KindFailed        Kind = "failed"
	KindPIDFileFailed Kind = "pid-file-failed"
)

// Serves tells whether a generation in this phase is the main one, and takes what is new.
func (p Phase) Serves() bool { return p == Ready || p == Pulled || p == Swapping }

// Ends tells of the phases in which a service begins nothing more.
func (p Phase) Ends() bool { return p == Draining || p == Stopped }

// The times that the machine goes by, besides those of the configuration.
const (
	// KillGrace is how long a process that is told to leave may take before it is killed, or what it has is cut off.
	KillGrace = 5 * time.Second
	// LastWords is how long what is left to say or to return at the end may take.
	LastWords = time.Second
	// GoneTime is how long Config.Gone may take.
	GoneTime = 5 * time.Second
	// ForwardTime is how long after its end as the main one a generation forwards signals: the
	// sender may have read the PID file before it was replaced.
	ForwardTime = 2 * time.Second
	// LeastLinger and MostLinger bound how long a replaced generation stays at least, to forward signals. The process
	// that a sender has just read from the PID file must still exist. See State.linger.
	LeastLinger = 20 * time.Millisecond
	MostLinger  = 250 * time.Millisecond
	// SameInstant: the order of a pull and of a swap or restore that come within this time is not known. The kernel
	// keeps no order between signals that wait, and two threads may take them. The pull holds then, which is safe. An
	// operator that wants a restore waits until the balancer has noticed the pull.
	SameInstant = 5 * time.Millisecond
)
