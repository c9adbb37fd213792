//go:build !unix

package drain

import "os"

func passedSockets() ([]*os.File, int) { return nil, 0 }
