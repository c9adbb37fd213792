package drain

import "time"

// watchdogDue: it is time for WATCHDOG=1. Err says why a server does not answer. The answer is whether this generation
// is the one to say so.
type watchdogDue struct {
	err   error
	reply chan bool
}

// guard says WATCHDOG=1 in each half of the watchdog's time, for as long as this generation is the
// main one, its loop runs and every server of ours answers.
func guard(in inbox, watchdog time.Duration, ask func() error) {
	tick := time.NewTicker(max(watchdog/2, time.Millisecond))
	defer tick.Stop()
	for {
		due := watchdogDue{ask(), make(chan bool, 1)}
		if !in.post(due) || !<-due.reply {
			return
		}
		select {
		case <-tick.C:
		case <-in.ended:
			return
		}
	}
}
