package drain

import "testing"

// A disk that doesn't answer doesn't hold up the loop for long: this returns while the rename goes on.
func TestSlowDiskOfThePIDFile(t *testing.T) {
	t.Parallel()
	answers, placed := make(chan struct{}), make(chan struct{})
	if placeInTime(func() error { <-answers; close(placed); return nil }, inbox{}) {
		t.Error("placed before the disk has answered")
	}
	close(answers)
	<-placed
}
