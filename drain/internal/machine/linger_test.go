package machine

import (
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// A generation that is replaced, and has nothing any more, stays for as long as the next one took to
// start, within bounds.
func TestLingersAsLongAsTheStartTook(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, c := range []struct{ took, age, want time.Duration }{
		{0, 0, MostLinger}, // it has not said
		{5 * ms, 0, LeastLinger}, {35 * ms, 0, 35 * ms}, {time.Second, 0, MostLinger},
		{35 * ms, 10 * ms, 25 * ms}, {35 * ms, 35 * ms, 0}, {5 * ms, time.Second, 0},
	} {
		at := time.Now()
		s := New(Setting{DrainTimeout: time.Minute}, at)
		s.Phase = Ready
		for _, e := range []Event{
			Asked{Swap}, ChildSpeaks{Attempt: 1, Took: c.took}, Child{Attempt: 1, Event: lifecycle.ChildReady},
			Child{Attempt: 1, Event: lifecycle.ChildServes}, Emptied{},
		} {
			s, _ = s.Step(e, at)
		}
		_, effects := s.Step(Drained{}, at.Add(c.age))
		var got time.Duration
		for _, e := range effects {
			if l, ok := e.(Linger); ok {
				got = l.For
			}
		}
		if !s.Replaced() || got != c.want {
			t.Errorf("the start took %v, drained after %v: lingers for %v; want %v", c.took, c.age, got, c.want)
		}
	}
}
