//go:build !unix

package drain

import "os"

var defaultSignals = Signals{Stop: []os.Signal{os.Interrupt}}

// There is no controlling terminal, and nothing that tells of its end.
var hangup os.Signal

func atTerminal() (there, closed bool) { return false, false }

func staysIgnored(os.Signal) bool { return false }

func resetAndRaise(os.Signal) { os.Exit(1) }
