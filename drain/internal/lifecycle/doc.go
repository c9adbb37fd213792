// Package lifecycle decides what the two sides of a swap do. It does nothing by itself: a side is a
// value, Step says what it becomes when something happens, and what is to be done then.
//
//	old                                          new
//	Starting   start the process ──────────────▶ Candidate  checks itself behind closed doors
//	           ◀────────────────────────── ready Awaiting
//	Announcing tell the service manager, pause
//	           what reads and handles, release
//	Promoting  promoted, with all that goes along ▶ Acquiring its owners acquire
//	Waiting                                      Main       opens the doors
//	           ◀──────────────────────── serving
//	Retired    close the doors, drain into it
//
// Until it hears "serving" the old side serves as before, and can take everything back: it does
// when the new process is dead, and kills one that lets it wait. The new side doesn't wait for ever
// either: when it hears nothing it opens the doors by itself. So for a moment both may accept,
// which loses nothing; and at no moment does neither. In the end exactly one is the main one; the
// test of package machine goes through all that can happen.
//
// Each process counts time in ticks of its own. One that was halted for an hour has missed no more
// than one tick, and reads first what was said meanwhile.
package lifecycle

import "time"

// Tick is how long a tick of either side is.
const Tick = time.Second

// How many ticks each side waits for the other.
const (
	ServeTicks   = 10 // the old one, for a new one that was promoted to say that it serves
	LeaveTicks   = 5  // the old one, for a new one that was asked to leave
	PromoteTicks = 15 // the new one, when it is ready, to be promoted: more than the old one takes to announce it
)
