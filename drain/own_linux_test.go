package drain_test

import (
	"testing"
)

// Where only one of two versions has an owner, or knows what an owner is, the swap is as without, and each owner begins
// with what the last one of its name has saved.
func TestOwnersOfOneVersionAlone(t *testing.T) {
	s := start(t, plan{Owns: []string{"a", "b"}})
	push := func(owner string) {
		t.Helper()
		c := s.connect()
		for have(c.ask("GET", "/whoami", ""))(t).gen != s.main().Gen { // one that leaves, and has no such owner
			c = s.connect()
		}
		if a, err := c.ask("POST", "/own/"+owner, owner+" at "+s.plan.Version); err != nil || a.status != 200 {
			t.Errorf("%+v, %v", a, err)
		}
	}
	next := func(as string, owns ...string) {
		t.Helper()
		s.plan.Owns, s.plan.Version = owns, as
		s.replan()
		s.swap()
	}
	push("a")
	push("b")
	next("without b", "a")
	push("a")
	next("without owners")
	next("with both", "b", "a")
	s.awaitLine("has handed nothing over for owners", "owners=\"[b a]\"")
	push("a")
	push("b")

	v := bothVersions(t)
	v.deploy(s, "old")
	next("older")
	s.awaitLine("the next generation knows no owners")
	s.install()
	s.awaitOlder(0) // the one before has saved
	next("newer", "a", "b")
	s.awaitLine("the old generation knows no owners")
	push("a")
	s.stop()
	s.wantLedger("a", map[string]int{"a at ": 1, "a at without b": 1, "a at with both": 1, "a at newer": 1})
	s.wantLedger("b", map[string]int{"b at ": 1, "b at with both": 1})
}
