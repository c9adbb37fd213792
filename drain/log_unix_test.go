//go:build unix

package drain_test

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain"
)

// readers are what may have become of the reader of standard error, where the log goes. Each makes the file that is the
// service's, and the reader's end, or nil.
var readers = map[string]func(*service) (w, r *os.File){
	"gone": func(s *service) (w, r *os.File) { r, w = s.pipe(); _ = r.Close(); return w, nil },
	"stopped": func(s *service) (w, r *os.File) {
		r, w = s.pipe()
		fill(s, w)
		return w, r
	},
}

// fill writes to a pipe until it is full. Afterwards a write blocks, as in a process that has inherited it.
func fill(t testing.TB, w *os.File) {
	t.Helper()
	rc, err := w.SyscallConn()
	must(t, err)
	_ = rc.Control(func(fd uintptr) {
		if err = unix.SetNonblock(int(fd), true); err != nil {
			return
		}
		for size := 4096; size > 0; {
			if _, err = unix.Write(int(fd), make([]byte, size)); err == unix.EAGAIN {
				size /= 2
			} else if err != nil {
				return
			}
		}
		err = unix.SetNonblock(int(fd), false)
	})
	must(t, err)
}

// startRead starts a service whose log has such a reader from its start. The file returned is the reader's end, or nil.
func startRead(t *testing.T, reader string, p plan) (s *service, end *os.File) {
	t.Helper()
	var w *os.File
	s = start(t, p, withControl, func(s *service, cmd *exec.Cmd) {
		w, end = readers[reader](s)
		cmd.Stderr = w
	})
	_ = w.Close()
	t.Cleanup(func() { _ = end.Close() })
	return s, end
}

// Whoever reads the log: the service, its keeper and each new generation do what they are told, and end with 0.
func TestLogReaderHoldsNothingUp(t *testing.T) {
	type row struct {
		reader string
		keeper bool
	}
	eachOf(t, func(t *testing.T, c row) {
		if c.keeper && runtime.GOOS != "linux" {
			t.Skip("a keeper needs Linux")
		}
		s, _ := startRead(t, c.reader, plan{Keeper: c.keeper})
		do := func(gen int, sig syscall.Signal, message string) {
			t.Helper()
			mark, pid := s.mark(), s.main().PID
			if c.keeper { // whom an operator sends signals
				pid = s.pgid
			}
			s.signal(pid, sig)
			s.eventSince(mark, gen, message)
		}
		do(1, pull, "pulled")
		if st := s.mustControl("status"); !st.Pulled || st.Phase != drain.Pulled {
			t.Errorf("after USR2: %+v", st)
		}
		s.wantPing(501)
		do(1, restore, "restored")
		s.nextHas("check fails")
		do(1, hup, "swap failed")
		s.nextHas("")
		do(2, hup, "promoted")
		s.event(2, "older generation is gone")
		do(3, hup, "promoted")
		if st := s.mustControl("status"); st.Generation != 3 || st.Total.Swaps != 2 || st.Total.FailedSwaps != 1 {
			t.Errorf("after two swaps: %+v", st)
		} else if c.reader == "gone" && st.Total.LogDropped == 0 {
			t.Error("lines that nobody could read are not counted")
		}
		s.wantPing(200)
		do(3, term, "stopped")
		s.gone()
		s.wantExit(s.pgid, 0)
		if !c.keeper {
			s.wantExit(s.main().PID, 0)
		}
	}, row{"gone", false}, row{"gone", true}, row{"stopped", false}, row{"stopped", true})
}

// A second TERM ends what the first waits for, and one that comes while the last lines are waited for ends that.
func TestLogReaderAndTwoStops(t *testing.T) {
	eachOf(t, func(t *testing.T, reader string) {
		s, _ := startRead(t, reader, plan{DrainTimeout: time.Hour})
		s.slow("gate")
		s.signal(s.pgid, term)
		s.event(1, "draining")
		s.signal(s.pgid, term)
		s.wantIn(s.event(1, "cut off").Err, "asked twice")
		_ = syscall.Kill(s.pgid, term) // or it has ended before, or Run has returned, and the signal ends main
		if code := s.exit(s.pgid); code != 1 && code != -int(term) {
			s.Errorf("exit code %d", code)
		}
	}, "gone", "stopped")
}

// A reader that goes on finds all lines, stamped with when it happened.
func TestLogReaderGoesOn(t *testing.T) {
	s, end := startRead(t, "stopped", plan{})
	s.swap()
	s.event(2, "older generation is gone")
	before := time.Now()
	read := s.readLog(end)
	s.stop()
	var swapped, stopped bool
	for line := range strings.Lines(<-read) {
		text, isLog := strings.CutPrefix(strings.TrimLeft(line, "\x00"), "time=")
		if !isLog {
			continue
		}
		stamp, text, _ := strings.Cut(text, " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if strings.Contains(text, "msg=promoted") {
			swapped = at.Before(before)
		}
		stopped = stopped || strings.Contains(text, "msg=stopped")
	}
	if !swapped || !stopped {
		t.Errorf("the log has the swap at its time: %v, the stop: %v", swapped, stopped)
	}
}

// readLog reads until no process has the log open any more.
func (s *service) readLog(end *os.File) <-chan string {
	text := make(chan string, 1)
	go func() {
		defer end.Close()
		b, _ := io.ReadAll(end)
		text <- string(b)
	}()
	return text
}

// OnEvent, and a logger's handler, may call every method of the Service, and may block.
func TestCallbacks(t *testing.T) {
	does := map[string]func(*testing.T, plan){
		"calls": func(t *testing.T, p plan) {
			s := start(t, p)
			s.swap()
			s.wantExit(s.pgid, 0)
			s.noteSince(0, s.pgid, "called at ready")
			s.noteSince(0, s.pgid, "called at swapped")
			s.noteSince(0, s.main().PID, "called at promoted")
			s.stop()
			s.noteSince(0, s.main().PID, "called at stopped")
		},
		"blocks": func(t *testing.T, p plan) {
			s := start(t, p, withControl)
			s.noteSince(0, s.pgid, "blocks")
			s.signal(s.pgid, hup)
			s.noteSince(0, s.event(2, "starting").PID, "blocks")
			s.wantExit(s.pgid, 0)
			st := s.mustControl("status")
			if st.Generation != 2 || st.Phase != drain.Ready {
				t.Errorf("%+v", st)
			}
			s.signal(st.PID, term)
			s.wantExit(st.PID, 0)
			s.gone()
		},
		"stops": func(t *testing.T, p plan) {
			s := start(t, p)
			s.noteSince(0, s.pgid, "stop returned: <nil>")
			s.event(1, "stopped")
			s.wantExit(s.pgid, 0)
		},
		"swaps": func(t *testing.T, p plan) {
			s := start(t, p)
			s.noteSince(0, s.pgid, "swap returned: <nil>")
			s.event(2, "promoted")
			s.wantExit(s.pgid, 0)
			s.stop()
		},
		"panics": func(t *testing.T, p plan) {
			s := begin(t, p)
			if strings.HasPrefix(p.Callback, "OnEvent") {
				s.wantExit(s.pgid, 2) // as elsewhere in the program
				return
			}
			s.event(1, "ready")
			s.swap()
			s.swap()
			s.stop()
		},
	}
	eachOf(t, func(t *testing.T, what string) {
		_, do, _ := strings.Cut(what, " ")
		does[do](t, plan{Callback: what})
	}, "OnEvent calls", "logger calls", "OnEvent blocks", "logger blocks", "OnEvent stops", "logger stops",
		"OnEvent swaps", "logger swaps", "OnEvent panics", "logger panics")
}

// What the listeners warn of reaches the log, with the cure, in each generation: here of a server whose
// HTTP/2 can't be led.
func TestWarningsOfListenersReachTheLog(t *testing.T) {
	s := start(t, plan{})
	const warning = "HTTP/2 connections of an http.Server end with net/http's GOAWAY"
	if s.logged(warning) {
		t.Errorf("a usual server is warned of")
	}
	s.nextHas("HTTP/2 of its own")
	s.swap()
	s.awaitLog(warning, func() {})
	s.awaitLog("golang.org/x/net v0.31.0", func() {})
	s.stop()
}
