//go:build unix

package drain_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/baton-go/baton/drain"
)

func (s *service) read(stdout *os.File) {
	defer close(s.eof)
	defer stdout.Close()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			r.Note = lines.Text()
		}
		s.mu.Lock()
		if r.PID != 0 && !s.apart && s.exits[r.PID] == nil {
			exit := make(chan int, 1)
			s.exits[r.PID] = exit
			go func() { exit <- awaitGone(r.PID) }()
		}
		s.records, s.said = append(s.records, r), time.Now()
		close(s.grown)
		s.grown = make(chan struct{})
		s.mu.Unlock()
	}
}

// eventually waits for a fact that no event tells.
func (s *service) eventually(what string, fact func() bool) {
	s.Helper()
	for timeout := time.After(hung); !fact(); {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-timeout:
			s.Fatalf("hangs; want %s", what)
		}
	}
}

// logged tells whether the log has the text.
func (s *service) logged(text string) bool {
	log, err := os.ReadFile(s.logFile())
	return err == nil && strings.Contains(string(log), text)
}

// awaitLine waits until the log has a line with all of that.
func (s *service) awaitLine(words ...string) {
	s.Helper()
	s.eventually("a line with "+strings.Join(words, ", "), func() bool {
		log, _ := os.ReadFile(s.logFile())
		for line := range strings.Lines(string(log)) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				return true
			}
		}
		return false
	})
}

// awaitLog repeats what it is given until the log has the text.
func (s *service) awaitLog(text string, again func()) {
	s.Helper()
	s.eventually("the log to have "+text, func() bool {
		has := s.logged(text)
		if !has {
			again()
		}
		return has
	})
}

// mark is the place in the records that is now their end.
func (s *service) mark() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

func (s *service) since(mark int) []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records[mark:])
}

// await returns the first record after mark that matches.
func (s *service) await(mark int, what string, match func(record) bool) record {
	s.Helper()
	timeout := time.After(hung)
	for {
		s.mu.Lock()
		i := slices.IndexFunc(s.records[mark:], match)
		grown := s.grown
		s.mu.Unlock()
		if i >= 0 {
			return s.since(mark)[i]
		}
		select {
		case <-grown:
		case <-s.eof:
			if !slices.ContainsFunc(s.since(mark), match) {
				s.Fatalf("the service is gone; want %s", what)
			}
		case <-timeout:
			s.Fatalf("hangs; want %s", what)
		}
	}
}

// event waits for an event of a generation whose message begins with msg.
func (s *service) event(gen int, msg string) record { s.Helper(); return s.eventSince(0, gen, msg) }

func (s *service) eventSince(mark, gen int, msg string) record {
	s.Helper()
	return s.await(mark, fmt.Sprintf("event %q of generation %d", msg, gen), func(r record) bool {
		return r.Gen == gen && r.Note == "" && strings.HasPrefix(r.Msg, msg)
	})
}

// noteSince waits for a note of a process; 0 is any.
func (s *service) noteSince(mark, pid int, note string) record {
	s.Helper()
	return s.await(mark, fmt.Sprintf("note %q of process %d", note, pid), func(r record) bool {
		return strings.HasPrefix(r.Note, note) && (pid == 0 || r.PID == pid)
	})
}

// main is the generation that was last to become ready, or to find that the next one doesn't.
func (s *service) main() record {
	all := s.since(0)
	for _, r := range slices.Backward(all) {
		if r.Phase == drain.Ready && (r.Msg == "ready" || r.Msg == "promoted") || r.Msg == "swap failed" {
			return r
		}
	}
	s.Fatal("no generation is ready")
	return record{}
}

// exitOf is the channel that has a process's exit code when it is gone; nil: it has said nothing.
func (s *service) exitOf(pid int) chan int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exits[pid]
}

// exit waits until a process is gone and returns its exit code, -n for signal n.
func (s *service) exit(pid int) int {
	s.Helper()
	exit := s.exitOf(pid)
	select {
	case code := <-exit:
		exit <- code
		return code
	case <-time.After(hung):
		s.Fatalf("process %d does not exit", pid)
		return 0
	}
}

// isQuiet tells whether no generation has said anything for a while, as each does in a swap or a stop, step by step.
func (s *service) isQuiet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.said) > 200*time.Millisecond
}

// hasExited tells whether a process that has said something is gone.
func (s *service) hasExited(pid int) bool {
	exit := s.exitOf(pid)
	select {
	case code := <-exit:
		exit <- code
		return true
	default:
		return exit == nil // its number is that of another namespace
	}
}

// isAlone tells whether that process is all that lives of the service. It looks for those that have said nothing
// when the others are gone: that is dear, and is asked for until it is so.
func (s *service) isAlone(pid int) bool {
	s.mu.Lock()
	known := slices.Collect(maps.Keys(s.exits))
	s.mu.Unlock()
	return !slices.ContainsFunc(known, func(other int) bool { return other != pid && !s.hasExited(other) }) &&
		slices.Equal(living(s.pgid), []int{pid})
}

// gone waits until no generation lives.
func (s *service) gone() {
	s.Helper()
	select {
	case <-s.eof:
	case <-time.After(hung):
		s.Fatalf("processes %v do not exit", living(s.pgid))
	}
	s.mu.Lock()
	pids := slices.Collect(maps.Keys(s.exits))
	s.mu.Unlock()
	for _, pid := range pids { // the kernel may close the sockets last
		s.exit(pid)
	}
}
