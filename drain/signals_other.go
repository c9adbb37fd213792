//go:build !unix

package drain

import "os"

var defaultSignals = Signals{Stop: []os.Signal{os.Interrupt}}

func raise(os.Signal) { os.Exit(1) }
