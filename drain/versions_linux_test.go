package drain_test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// versions are binaries of the service, by the version of the library in them.
type versions map[string]string

func bothVersions(t testing.TB) versions {
	t.Helper()
	self := have(os.Executable())(t)
	return versions{"old": oldBinary(t), "new": self}
}

// eachWay runs f for an upgrade and what follows, and for a rollback and what follows.
func eachWay(t *testing.T, f func(t *testing.T, v versions, first string, then ...string)) {
	v := bothVersions(t)
	each(t, map[string][]string{
		"upgrade first": {"old", "new", "old", "new"}, "rollback first": {"new", "old", "new", "old"},
	}, func(t *testing.T, all []string) { f(t, v, all[0], all[1:]...) })
}

// begins makes the service begin with that version.
func (v versions) begins(version string) func(*service, *exec.Cmd) {
	return func(s *service, _ *exec.Cmd) { v.deploy(s, version) }
}

// deploy puts a version in the place of the binary.
func (v versions) deploy(s *service, version string) {
	s.Helper()
	s.replace(func(path string) error { return linkOrCopy(v[version], path) })
}

// swapTo swaps once, to that version.
func (v versions) swapTo(s *service, version string) record {
	s.Helper()
	v.deploy(s, version)
	return s.swap()
}

// A keeper of either version follows generations of both.
func TestTwoVersionsBehindAKeeper(t *testing.T) {
	eachWay(t, func(t *testing.T, v versions, first string, then ...string) {
		s := start(t, plan{}, v.begins(first), withKeeper)
		for _, version := range then {
			v.deploy(s, version)
			s.swapBy(s.pgid)
		}
		s.signal(s.pgid, syscall.SIGTERM)
		s.wantKeeperExit(0)
	})
}

// Under load that never retries, everything that one generation passes to the next passes between versions too.
func TestTwoVersionsUnderLoadLoseNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, v versions, first string, then ...string) {
		n := newNotifySocket(t)
		s := start(t, plan{Lines: true, UDP: true, Worker: true, MaxGenerations: 8, DrainTimeout: 4 * hung},
			n.manages, withControl, v.begins(first))
		s.awaitPIDFile(s.pgid)
		l := s.drive(16, 4*time.Millisecond)
		u := s.askDatagrams("udp")
		lines := []*liner{s.liner(), s.hijacked(), s.liner(), s.hijacked()}
		slow, open := s.slow("one")
		from := s.main()
		for i, version := range then {
			lines[0].half()
			lines[1].half()
			mark := n.mark()
			to := v.swapTo(s, version)
			l.settle()
			u.settle()
			for j, line := range lines {
				if j > 1 {
					line.half()
				}
				for gen, hops := line.rest(); gen != to.Gen || hops != i+1; gen, hops = line.say() {
					if gen != from.Gen || hops != i { // answered there just before it went over
						t.Fatalf("%s: line %d is answered by generation %d, after %d others; want %d after %d",
							version, j, gen, hops, to.Gen, i+1)
					}
				}
			}
			s.awaitPIDFile(to.PID)
			for _, pattern := range []string{reloading, takesOver(to.PID, to.Gen), "BARRIER=1"} {
				if d, at := n.await(mark, pattern); d.pid != from.PID {
					t.Errorf("%q comes from %d, want %d", d.text, d.pid, from.PID)
				} else {
					mark = at + 1
				}
			}
			s.awaitAlone(s.pgid) // it has the slow request
			if st := s.mustControl("status"); st.PID != to.PID || st.Total.Swaps != i+1 || st.Total.Lost > 0 ||
				st.Older[0].PID != s.pgid {
				t.Errorf("%s: status %+v; want generation %d, %d swaps, nothing lost", version, st, to.Gen, i+1)
			}
			from = to
		}
		s.finishSlow(slow, open)
		s.wantMoved(slow, from)
		s.event(1, "stopped")
		s.wantExit(s.pgid, 0)
		l.end()
		u.end()
		mark := n.mark()
		s.stop()
		if d, _ := n.await(mark, stopping); d.pid != from.PID {
			t.Errorf("%q comes from %d, want %d", d.text, d.pid, from.PID)
		}
		for _, line := range lines {
			line.wantClosed()
		}
		s.wantNothingLost()
		s.wantNone(0, "swap failed")
	})
}

// Each generation wants to hear of the one before that it is pulled, and which probers there are.
func TestTwoVersionsPassOnWhatProbersHaveSeen(t *testing.T) {
	eachWay(t, func(t *testing.T, v versions, first string, then ...string) {
		s := start(t, plan{KeepPull: true}, withControl, v.begins(first))
		if a := s.get("/ping"); a.status != 200 {
			t.Fatalf("%+v", a)
		}
		s.mustControl("pull")
		for _, version := range then {
			to := v.swapTo(s, version)
			if st := s.mustControl("status"); !st.Pulled || len(st.Probers) != 1 {
				t.Errorf("%s: pulled is %v, the probers are %+v; want the one that asked",
					version, st.Pulled, st.Probers)
			}
			c := s.serving(to)
			if a, err := c.ask("GET", "/ping", ""); err != nil || a.status != 501 {
				t.Errorf("%s: after a pull and a swap /ping answers %+v, %v", version, a, err)
			}
			_ = c.Close()
		}
		s.mustControl("restore")
		to := v.swapTo(s, then[0])
		if st := s.mustControl("status"); st.Pulled || st.PID != to.PID {
			t.Errorf("after a restore and a swap: %+v", st)
		}
		s.stop()
	})
}

// TLS sessions go on in each version, and connections that can't be handed over are closed so that a client can tell.
func TestTwoVersionsOverTLSLoseNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, v versions, first string, then ...string) {
		s := start(t, tlsPlan(t, plan{IdleGrace: patient, MaxGenerations: 8}), v.begins(first))
		l := s.drive(4, 4*time.Millisecond)
		config := trusting(0)
		s.wantVisit(config, false)
		for _, version := range then {
			v.swapTo(s, version)
			s.wantVisit(config, true)
			l.settle()
		}
		l.endWith(math.MaxInt)
		s.stop()
		s.wantNothingLost()
	})
}

// What a version can't do, or does not like, it says in words that the other understands.
func TestTwoVersionsAndASwapThatFails(t *testing.T) {
	eachWay(t, func(t *testing.T, v versions, first string, then ...string) {
		s := start(t, plan{MaxGenerations: 8}, withControl, v.begins(first))
		l := s.drive(8, 4*time.Millisecond)
		for _, version := range then {
			v.deploy(s, version)
			for fault, reason := range map[string]string{
				"check fails":        "self-check: Config.Check: the database is away",
				"ready fails":        "Config.Ready: the cache is cold",
				"crash in probation": "exit status 3",
			} {
				s.nextHas(fault)
				_, err := s.control("swap")
				s.wantWords(err, reason, fmt.Sprintf("generation %d serves on", s.main().Gen))
			}
			s.nextHas("")
			s.mustControl("swap")
			l.settle()
		}
		l.end()
		s.stop()
		s.wantNothingLost()
	})
}

// An old generation that has too much time is told to leave sooner, by whichever version comes.
func TestTwoVersionsHurryTheOldest(t *testing.T) {
	eachWay(t, func(t *testing.T, v versions, first string, then ...string) {
		s := start(t, plan{MaxGenerations: 2, DrainTimeout: 2 * hung}, v.begins(first))
		s.slow("one")
		v.swapTo(s, then[0])
		s.awaitOlder(1)
		v.swapTo(s, then[1]) // there would be three
		s.event(1, "told to leave")
		s.wantExit(s.pgid, 1)
		s.stop()
		s.wantLostByCutOff()
	})
}

// A stop by the newest takes the older ones along, and waits for them.
func TestTwoVersionsStopTogether(t *testing.T) {
	eachWay(t, func(t *testing.T, v versions, first string, then ...string) {
		s := start(t, plan{DrainTimeout: 2 * hung}, v.begins(first))
		slow, open := s.slow("one")
		to := v.swapTo(s, then[0])
		s.awaitOlder(1)
		s.signal(to.PID, syscall.SIGTERM)
		s.eventSince(0, to.Gen, "waiting for older generations")
		s.finishSlow(slow, open)
		s.gone()
		s.wantExit(s.pgid, 0)
		s.noteSince(0, to.PID, "exit 0")
		s.wantNothingLost()
	})
}

// Whichever is killed, the other version serves on, within moments.
func TestTwoVersionsAndAKill(t *testing.T) {
	eachWay(t, func(t *testing.T, v versions, first string, then ...string) {
		s := start(t, plan{}, v.begins(first))
		for _, version := range then {
			from := s.main()
			v.deploy(s, version)
			open := s.beginSwap("in Ready")
			s.kill(from.PID)
			open()
			s.event(from.Gen+1, "promoted")
			pid := s.main().PID
			s.wantAlone(pid)
			s.awaitPIDFile(pid)
			if a := s.get("/whoami"); a.pid != pid {
				t.Errorf("%s: %+v; want pid %d to answer", version, a, pid)
			}
		}
		s.stop()
	})
}

// The one in the middle is killed before it can hand on the link to the oldest: that finishes by itself, and the
// newest serves.
func TestTwoVersionsAndTheMiddleIsKilled(t *testing.T) {
	eachWay(t, func(t *testing.T, v versions, first string, then ...string) {
		s := start(t, plan{DrainTimeout: 2 * hung}, v.begins(first))
		slow, finish := s.slow("one")
		middle := v.swapTo(s, then[0])
		s.awaitOlder(1)
		v.deploy(s, then[1])
		open := s.beginSwap("in Ready")
		s.kill(middle.PID)
		open()
		s.event(3, "promoted")
		s.finishSlow(slow, finish)
		s.event(1, "stopped")
		s.wantExit(s.pgid, 0)
		s.wantAlone(s.main().PID)
		l := s.drive(4, 4*time.Millisecond)
		v.swapTo(s, then[2])
		l.end()
		s.stop()
	})
}
