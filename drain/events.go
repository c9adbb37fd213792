package drain

// EventKind tells events apart for programs: Event.Message may be worded otherwise in a later version, a kind stays. A
// later version may have more of them.
type EventKind string

// The kinds of events. Where a kind has several messages, Event.Phase and Event.Err tell more.
const (
	// A generation comes up.
	EventStarting  EventKind = "starting"  // New has returned
	EventProbation EventKind = "probation" // Config.Ready has returned in a new generation, which checks itself
	EventProven    EventKind = "proven"    // it has passed, and is about to take over
	EventReady     EventKind = "ready"     // the first generation serves
	EventPromoted  EventKind = "promoted"  // a new generation serves, and is the main one

	// A swap, in the old generation.
	EventSwapBegun  EventKind = "swap-begun"
	EventSwapFailed EventKind = "swap-failed" // Err has the reason; this generation serves on
	EventReplaced   EventKind = "replaced"    // another generation is the main one, and this one drains

	// A pull.
	EventPulled      EventKind = "pulled"
	EventPullNoticed EventKind = "pull-noticed" // by the balancers
	EventPullOverdue EventKind = "pull-overdue" // not by all of them: PullMax is over
	EventPullUnasked EventKind = "pull-unasked" // no probe of PingPath comes: no balancer is waited for
	EventRestored    EventKind = "restored"

	// A stop, and the end of a generation.
	EventStopping EventKind = "stopping" // pulled, to stop when the balancers have noticed
	EventFailing  EventKind = "failing"  // a server, or another part of it, has failed; a swap goes on
	EventDraining EventKind = "draining" // of a service that stops; see EventReplaced
	EventStopped  EventKind = "stopped"  // the end, when all was finished, or before the service was ready
	EventCutOff   EventKind = "cut-off"  // the end, when something was not; Err says what
	EventFailed   EventKind = "failed"   // the end of a generation that could not begin to serve; Err has the reason

	EventWaiting EventKind = "waiting" // for something that takes its time: Status.Waits says what; again each 10s

	// Older generations that drain.
	EventOlderAwaited EventKind = "older-awaited" // this generation has finished and waits for them
	EventOlderGone    EventKind = "older-gone"    // one of them has ended
	EventOlderRemains EventKind = "older-remains" // its Run has returned, but its process goes on
	EventOlderHurried EventKind = "older-hurried" // they are too many: the oldest is told to leave, see MaxGenerations
	EventHurried      EventKind = "hurried"       // this one is told so

	// What was passed on, or should have been.
	EventOldLost       EventKind = "old-lost"       // the old generation was gone before it could hand over
	EventProbersLost   EventKind = "probers-lost"   // what the old generation knew of probers could not be used
	EventSocketsClosed EventKind = "sockets-closed" // passed by the service manager, and not used
	EventStoreLacking  EventKind = "store-lacking"  // the service manager's store does not hold every socket

	// Config.Healthy, as probes find it.
	EventUnhealthy EventKind = "unhealthy" // it fails, as Err says
	EventHealthy   EventKind = "healthy"   // it succeeds again

	// Something beside the lifecycle went wrong, as Err says, which goes on.
	EventHookFailed    EventKind = "hook-failed"     // Config.Join, Leave or Gone
	EventPortFailed    EventKind = "port-failed"     // Config.HeartbeatAddress or AgentAddress
	EventPIDFileFailed EventKind = "pid-file-failed" // Config.PIDFile
)

// steps are the kinds of events within a swap. The lines before and after them tell what matters to an operator. So the
// level of these is debug where nothing is wrong.
var steps = map[EventKind]bool{
	EventStarting: true, EventProbation: true, EventProven: true, EventReplaced: true, EventOlderGone: true,
}
