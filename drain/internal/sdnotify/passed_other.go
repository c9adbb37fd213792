//go:build !unix

package sdnotify

import "os"

// PassedSockets returns nothing: this system has no such service manager.
func PassedSockets() ([]*os.File, int, error) { return nil, 0, nil }
