package drain

import "time"

// slowDisk is how long the loop waits for a disk.
const slowDisk = 250 * time.Millisecond

// soon calls f, which may wait for a disk, elsewhere, and tells whether it has returned within slowDisk.
func soon(f func()) bool { return within(slowDisk, f) }

// within calls f elsewhere, and tells whether it has returned in that time. It may go on behind that.
func within(d time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}
