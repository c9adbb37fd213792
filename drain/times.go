package drain

import (
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
)

const (
	// killGrace is how long a process that was told to leave may take before it is killed.
	killGrace = machine.KillGrace
	// lastWords is how long what is left to say at the end may take.
	lastWords = machine.LastWords
	// reportBusy is between two reports while something goes on.
	reportBusy = time.Second
	// signalTime is how long a service manager that has signalled the main process may take to signal the others.
	signalTime = 250 * time.Millisecond
	// offerTime is how long the next generation may take to answer an offer, or a quarter of
	// Config.DrainTimeout where that is less. The connections wait as long, and then are served here.
	offerTime = 5 * time.Second
)
