package drain

import (
	"os"
	"testing"
	"time"
)

// A stop that comes in the same moment as one that waits for the loop says nothing more; a later one does,
// whatever came in between.
func TestOneWishToStopWaitsOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at   []time.Duration
		want int
	}{
		{[]time.Duration{0}, 1},
		{[]time.Duration{0, 0}, 1},
		{[]time.Duration{0, 99 * time.Millisecond}, 1},
		{[]time.Duration{0, 100 * time.Millisecond}, 2},
		{[]time.Duration{0, 1, 2, 3, time.Second}, 2},
		{[]time.Duration{0, 1, time.Second, time.Second + 1, time.Minute}, 2},
	} {
		sets := &Signals{Stop: []os.Signal{os.Interrupt}}
		first := time.Now()
		var waiting []arrival
		for _, after := range c.at {
			waiting = sets.remember(waiting, arrival{Signal: os.Interrupt, at: first.Add(after)})
		}
		if len(waiting) != c.want {
			t.Errorf("of signals at %v, %d wait; want %d", c.at, len(waiting), c.want)
		}
	}
}
