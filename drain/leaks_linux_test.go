package drain_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fds is what the descriptors of a process are.
func fds(t testing.TB, pid int) (all []string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries := have(os.ReadDir(dir))(t)
	for _, e := range entries {
		if to, err := os.Readlink(dir + "/" + e.Name()); err == nil {
			all = append(all, e.Name()+" "+to)
		}
	}
	return all
}

// goroutines is what a process is doing: how many there are, and where.
func (s *service) goroutines() (n int, where string) {
	s.Helper()
	where = s.do("goroutines")
	if _, err := fmt.Sscanf(where, "goroutine profile: total %d", &n); err != nil {
		s.Fatalf("%v: %s", err, where)
	}
	return n, where
}

// burden is what a process without clients, but for one who asks, can't do without.
type burden struct{ fds, goroutines int }

// rested waits until the main generation is alone and has no clients, and no more than most, unless that is nil.
func (s *service) rested(most *burden) (b burden) {
	s.Helper()
	pid := s.main().PID
	s.wantAlone(pid)
	for timeout := time.After(hung / 4); ; {
		s.do("collect") // some descriptors are closed by the garbage collector
		all := fds(s, pid)
		n, where := s.goroutines()
		st := s.status()
		b = burden{len(all), n}
		if st.Open.Open() == 1 && len(st.Older) == 0 && (most == nil || b.fds <= most.fds &&
			b.goroutines <= most.goroutines) {
			return b
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-timeout:
			s.Fatalf("generation %d has %d connections, and %+v; want at most %+v:\n%s\n%s", st.Generation,
				st.Open.Open(), b, most, strings.Join(all, "\n"), where)
		}
	}
}

// elderRested is what an older generation with one connection, which is hijacked, has, when that is no more than most.
func (s *service) elderRested(pid int, c *client, most *burden) (b burden) {
	s.Helper()
	for timeout := time.After(hung / 4); ; {
		all := fds(s, pid)
		n := have(strconv.Atoi(c.say(s, "goroutines")))(s)
		b = burden{len(all), n}
		if most == nil || b.fds <= most.fds && b.goroutines <= most.goroutines {
			return b
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-timeout:
			s.Fatalf("the older generation has %+v; want at most %+v:\n%s", b, most, strings.Join(all, "\n"))
		}
	}
}

// Nothing is left over from a swap, whatever kind of connection it has to do with, in the newest generation
// as in one that has seen them all go by. Some are overtaken by the next ones while they drain.
func TestFiftySwapsAreFlat(t *testing.T) {
	s := start(t, plan{MaxGenerations: 64, DrainTimeout: 20 * hung, Lines: true}, withControl)
	var held []*client
	swaps := func(n int) {
		l := s.drive(4, 4*time.Millisecond)
		own := []*liner{s.liner(), s.hijacked()} // are handed over by the application
		for range n {
			for _, l := range own {
				l.half()
			}
			held = append(held, s.lingering())
			if len(held) > 3 {
				held[0].wantEcho(s)
				_ = held[0].Close()
				held = held[1:]
			}
			s.swap()
			for _, l := range own {
				l.rest()
			}
		}
		for _, c := range held {
			_ = c.Close()
		}
		held = nil
		for _, l := range own {
			if _, hops := l.say(); hops < n/2 {
				t.Errorf("a connection of the application's was handed over %d times in %d swaps", hops, n)
			}
			_ = l.nc.Close()
		}
		l.end()
	}
	// what is about to go may be counted or not
	more := func(b burden) *burden { return &burden{b.fds + 1, b.goroutines + 1} }
	swaps(5)
	early := s.rested(nil)
	elder, c := s.main().PID, s.lingering()
	swaps(5)
	s.olderAre(1, s.main().Gen-5)
	elderEarly := s.elderRested(elder, c, nil)
	swaps(40)
	s.olderAre(1, s.main().Gen-45)
	elderLate := s.elderRested(elder, c, more(elderEarly))
	_ = c.Close()
	late := s.rested(more(early))
	t.Logf("the newest after 5 swaps %+v, after 50 %+v; an older one after 5 swaps %+v, after 45 %+v", early, late,
		elderEarly, elderLate)
	s.stop()
	s.wantNothingLost()
}

// What the service starts inherits neither its descriptors nor its variables.
func TestSubprocessInheritsNothing(t *testing.T) {
	s := start(t, plan{}, withControl)
	l := s.drive(2, time.Millisecond)
	mine, err := exec.Command("/bin/ls", "-l", "/proc/self/fd").CombinedOutput() // whoever runs the test may leak some
	if err != nil {
		t.Skip(err)
	}
	link := regexp.MustCompile(`(?m) (\d+) -> (.*)$`)
	for gen := 1; gen <= 3; gen++ {
		a := s.get("/subprocess")
		if a.status != 200 || strings.Contains(a.body, "TABLEFLIP") {
			t.Errorf("generation %d: %d\n%s", gen, a.status, a.body)
		}
		n := 0
		for _, m := range link.FindAllStringSubmatch(a.body, -1) {
			n++
			if (len(m[1]) > 1 || m[1] > "2" && !strings.HasPrefix(m[2], "/proc/")) &&
				!strings.Contains(string(mine), m[0]) {
				t.Errorf("generation %d: descriptor %s is %s", gen, m[1], m[2])
			}
		}
		if n < 3 {
			t.Errorf("not understood: %s", a.body)
		}
		s.swap()
	}
	l.end()
	s.stop()
}
