//go:build unix

package drain_test

import "testing"

// A generation tells of the swap by which it has come: an operator asks the new one how the reload went.
func TestTheNextGenerationTellsOfItsSwap(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withControl)
	if st := s.mustControl("status"); st.LastSwap != nil {
		t.Errorf("before the first swap: %+v", st.LastSwap)
	}
	for generation := 2; generation <= 3; generation++ {
		s.swap()
		last := s.mustControl("status").LastSwap
		if last == nil || last.Generation != generation || last.Err != "" || last.At.IsZero() {
			t.Errorf("generation %d: %+v", generation, last)
		}
	}
	s.stop()
}
