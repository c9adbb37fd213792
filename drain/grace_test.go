package drain

import (
	"testing"
	"time"
)

// Nobody waits for the end of a swap's old generation; a grace that the user has set is the user's.
func TestIdleGrace(t *testing.T) {
	for _, x := range []struct{ set, timeout, swap, stop time.Duration }{
		{0, 0, 5 * time.Second, time.Second},
		{0, 4 * time.Second, 2 * time.Second, time.Second},
		{0, time.Second, time.Second / 2, time.Second / 2},
		{time.Minute, 2 * time.Minute, time.Minute, time.Minute},
		{time.Millisecond, 0, time.Millisecond, time.Millisecond},
	} {
		c, err := Config{IdleGrace: x.set, DrainTimeout: x.timeout}.complete()
		if err != nil {
			t.Fatal(err)
		}
		if swap, stop := c.idleGrace(false), c.idleGrace(true); swap != x.swap || stop != x.stop {
			t.Errorf("IdleGrace %v, DrainTimeout %v: %v in a swap, %v in a stop; want %v, %v", x.set, x.timeout, swap,
				stop, x.swap, x.stop)
		}
	}
}

// The second for which net/http keeps a connection of HTTP/2 that its client does not close fits into DrainTimeout.
func TestHurriedInTime(t *testing.T) {
	for _, x := range []struct{ timeout, late, most time.Duration }{
		{time.Second, 500 * time.Millisecond, 125 * time.Millisecond},
		{3 * time.Second, 1500 * time.Millisecond, 375 * time.Millisecond},
		{5 * time.Second, 3 * time.Second, 625 * time.Millisecond},
		{8 * time.Second, 6 * time.Second, time.Second},
		{30 * time.Second, 22500 * time.Millisecond, 3750 * time.Millisecond},
	} {
		late, most := hurried(x.timeout)
		if late != x.late || most != x.most {
			t.Errorf("DrainTimeout %v: hurried after %v, by %v; want %v, %v", x.timeout, late, most, x.late, x.most)
		}
		if x.timeout >= 3*time.Second && late+most+time.Second > x.timeout {
			t.Errorf("DrainTimeout %v: over after %v", x.timeout, late+most+time.Second)
		}
	}
}

func TestSessionSpread(t *testing.T) {
	for _, x := range []struct{ set, grace, timeout, within, share time.Duration }{
		{0, 0, 0, swapGrace, sessionShare},
		{0, time.Minute, 0, 15 * time.Second, sessionShare},
		{time.Nanosecond, 0, 0, time.Nanosecond, 0},
		{8 * time.Second, 0, 0, 8 * time.Second, 0},
		{time.Minute, 0, time.Minute, 30 * time.Second, 0},
	} {
		c, err := Config{SessionSpread: x.set, IdleGrace: x.grace, DrainTimeout: x.timeout}.complete()
		if err != nil {
			t.Fatal(err)
		}
		if within, share := c.sessionSpread(false); within != x.within || share != x.share {
			t.Errorf("%+v: within %v, %v each", x, within, share)
		}
		if within, share := c.sessionSpread(true); within != min(c.idleGrace(true), c.DrainTimeout/2) || share != 0 {
			t.Errorf("%+v, stop: within %v, %v each", x, within, share)
		}
	}
}
