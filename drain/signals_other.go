//go:build !unix

package drain

import "os"

var defaultSignals = Signals{Stop: []os.Signal{os.Interrupt}}

func resetAndRaise(os.Signal) { os.Exit(1) }
