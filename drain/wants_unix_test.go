//go:build unix

package drain_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// What tests want of a service.

// wantIn wants a text to say these words.
func (s *service) wantIn(text string, words ...string) {
	s.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			s.Errorf("%q does not say %q", text, w)
		}
	}
}

// wantWords wants an error that says these words.
func (s *service) wantWords(err error, words ...string) {
	s.Helper()
	if err == nil {
		s.Errorf("no error; want one that says %q", words)
		return
	}
	s.wantIn(err.Error(), words...)
}

// wantNoFile wants nothing at that path.
func wantNoFile(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v; want it to be gone", path, err)
	}
}

// reachable tells whether somebody listens there.
func reachable(network, address string) bool {
	nc, err := net.DialTimeout(network, address, hung)
	if err == nil {
		_ = nc.Close()
	}
	return err == nil
}

func (s *service) wantPing(status int) {
	s.Helper()
	if a := s.get("/ping"); a.status != status {
		s.Errorf("/ping answers %d; want %d", a.status, status)
	}
}

// wantAnswerOn wants that process to answer a request on that connection, and tells whether the answer is the last.
func (s *service) wantAnswerOn(c *client, pid int) (last bool) {
	s.Helper()
	a, err := c.ask("POST", "/echo", "more")
	if err != nil || a.body != "more" || a.pid != pid {
		s.Errorf("%+v, %v; want an answer of process %d", a, err, pid)
	}
	return a.close
}

// wantReceived wants what wait has sent to be answered by that process.
func (s *service) wantReceived(c *client, pid int) {
	s.Helper()
	if a, err := c.receive(); err != nil || a.body != "patience" || a.pid != pid {
		s.Errorf("%+v, %v; want an answer of process %d", a, err, pid)
	}
}

// wantCutOff wants no answer to the request that hangs on that connection.
func (s *service) wantCutOff(c *client) {
	s.Helper()
	if a, err := c.receive(); err == nil {
		s.Errorf("the request that was cut off has an answer: %+v", a)
	}
}

// wantExit wants a process to exit, with that code.
func (s *service) wantExit(pid, code int) {
	s.Helper()
	if got := s.exit(pid); got != code {
		s.Errorf("exit code %d; want %d", got, code)
	}
}

// wantEnd wants the service to end, by itself, with that exit code of generation 1 and something in its last error.
func (s *service) wantEnd(code int, reason string) {
	s.Helper()
	s.gone()
	s.wantExit(s.pgid, code)
	for _, r := range s.since(0) {
		if r.Phase == drain.Stopped && r.Gen == 1 && strings.Contains(r.Err, reason) && (reason != "" || r.Err == "") {
			return
		}
	}
	s.Errorf("no last event with %q", reason)
}

// wantNone wants no event with that message after mark.
func (s *service) wantNone(mark int, msg string) {
	s.Helper()
	for _, r := range s.since(mark) {
		if r.Note == "" && r.Msg == msg {
			s.Errorf("there is an event too many: %v", r)
		}
	}
}

// wantNotes wants that many notes with this text, by that generation; 0 is any.
func (s *service) wantNotes(n, gen int, note string) {
	s.Helper()
	var got []record
	for _, r := range s.since(0) {
		if r.Note == note && (gen == 0 || r.Gen == gen) {
			got = append(got, r)
		}
	}
	if len(got) != n {
		s.Errorf("%v; want %q %d times", got, note, n)
	}
}

// order returns when notes and events happened, in ns; each must be there. They are printed by several goroutines.
func (s *service) order(match ...func(record) bool) []int64 {
	s.Helper()
	all := s.since(0)
	var at []int64
	for i, m := range match {
		n := slices.IndexFunc(all, m)
		if n < 0 {
			s.Errorf("step %d of the order is missing", i)
			continue
		}
		at = append(at, all[n].At)
	}
	return at
}

func (s *service) wantOrder(match ...func(record) bool) {
	s.Helper()
	if at := s.order(match...); !slices.IsSorted(at) {
		s.Errorf("the order is %v", at)
	}
}

func noted(gen int, note string) func(record) bool {
	return func(r record) bool { return r.Gen == gen && r.Note == note }
}

func told(gen int, msg string) func(record) bool {
	return func(r record) bool { return r.Gen == gen && r.Note == "" && r.Msg == msg }
}

// wantAlone wants one process of the service, soon.
func (s *service) wantAlone(pid int) {
	s.Helper()
	s.eventually("one process, "+strconv.Itoa(pid), func() bool { return s.isAlone(pid) })
}

// wantNobody wants no process of the service, now, and waits until it has read what they have said.
func (s *service) wantNobody() {
	s.Helper()
	if left := living(s.pgid); len(left) > 0 {
		s.Errorf("processes %v live", left)
	}
	s.gone()
}

// wantServed wants new connections to be answered by that process, which the PID file names, and swaps to work.
func (s *service) wantServed(pid int) {
	s.Helper()
	s.wantAlone(pid) // or one that is leaving might answer
	for range 8 {
		if a := s.get("/whoami"); a.status != 200 || a.pid != pid {
			s.Errorf("%+v; want pid %d to answer", a, pid)
		}
	}
	s.awaitPIDFile(pid)
	s.awaitOlder(0)
	if st := s.status(); st.Phase != drain.Ready {
		s.Errorf("%+v", st)
	}
	l := s.drive(4, time.Millisecond)
	s.swap()
	s.swap()
	l.end()
	s.stop()
}

// wantBack wants the old generation to have taken everything back: it serves, and the next swap works.
func (s *service) wantBack(reason string) {
	s.Helper()
	s.wantIn(s.event(1, "swap failed").Err, reason)
	s.wantServed(s.pgid)
	s.wantNothingLost()
}

// wantPIDFile wants the PID file to hold pid, and to be readable by everybody.
func (s *service) wantPIDFile(pid int) {
	s.Helper()
	if !s.pidFileHolds(pid) {
		text, err := os.ReadFile(s.plan.PIDFile)
		s.Errorf("PID file: %q, %v; want %d", text, err, pid)
	}
	if info, err := os.Stat(s.plan.PIDFile); err == nil && info.Mode() != 0o644 {
		s.Errorf("PID file: mode %v", info.Mode())
	}
}

// awaitPIDFile waits until the PID file holds pid, which no event tells.
func (s *service) awaitPIDFile(pid int) {
	s.Helper()
	s.eventually("the PID file to hold "+strconv.Itoa(pid), func() bool { return s.pidFileHolds(pid) })
}

func (s *service) pidFileHolds(pid int) bool {
	text, err := os.ReadFile(s.plan.PIDFile)
	return err == nil && string(text) == strconv.Itoa(pid)+"\n"
}
