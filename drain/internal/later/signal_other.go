//go:build !unix

package later

import "os"

// SignalName is what the system calls it.
func SignalName(sig os.Signal) string { return sig.String() }
