//go:build unix && !linux

package process

// awaitExit would return when a child has exited, before it is reaped.
func awaitExit(int) bool { return false }
