//go:build unix

package drain_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/baton-go/baton/drain"
)

// A generation tells of the swap by which it has come, and of those before: an operator asks the new one how the
// reload went. It has counted each request that clients have sent once, whichever generation had it.
func TestTheNextGenerationTellsOfItsSwap(t *testing.T) {
	t.Parallel()
	s := start(t, plan{Version: "v1"}, withControl)
	if st := s.mustControl("status"); st.LastSwap != nil || len(st.History) != 1 || st.History[0].Version != "v1" {
		t.Errorf("before the first swap: %+v", st)
	}
	l := s.drive(4, 0)
	s.get("/ping")
	s.get("/aside")
	s.failSwap("ready fails")
	for generation := 2; generation <= 3; generation++ {
		s.plan.Version = fmt.Sprint("v", generation)
		s.replan()
		s.swap()
		last := s.mustControl("status").LastSwap
		if last == nil || last.Generation != generation || last.Err != "" || last.At.IsZero() {
			t.Errorf("generation %d: %+v", generation, last)
		}
		l.settle()
	}
	var n drain.Totals
	sent := l.Stop().Requests
	s.eventualControl("the older ones are gone", func(st drain.Status) bool { n = st.Total; return len(st.Older) == 0 })
	if n.Requests-n.Aside != int64(sent) || n.Aside != 2 {
		t.Errorf("%+v; the clients have sent %d", n, sent)
	}
	var got []string
	for _, r := range s.mustControl("status").History {
		got = append(got, fmt.Sprint(r.Generation, r.Version, " ", r.Err != "", r.Gone.After(r.At), r.At.IsZero()))
	}
	if want := "1v1 false true false|2v1 true false false|2v2 false true false|3v3 false false false"; strings.Join(got,
		"|") != want {
		t.Errorf("the history is %q, want %s", got, want)
	}
	for range 16 {
		s.failSwap("ready fails")
	}
	if h := s.mustControl("status").History; len(h) != 16 || h[0].Generation != 3 || h[0].Err != "" || h[1].Err == "" {
		t.Errorf("%d records, the first %+v", len(h), h[0])
	}
	s.stop()
}
