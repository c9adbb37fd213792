//go:build unix

package drain_test

import (
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

// reader is what has become of the reader of standard error, where the log goes.
type reader struct {
	name string
	// make returns the file that is the service's standard error, and the reader's end, or nil.
	make func(*service) (w, r *os.File)
}

var (
	goneReader    = reader{"gone", func(s *service) (w, r *os.File) { r, w = s.pipe(); _ = r.Close(); return w, nil }}
	stoppedReader = reader{"stopped", func(s *service) (w, r *os.File) {
		r, w = s.pipe()
		fill(s, w)
		return w, r
	}}
)

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

// start starts a service whose log has such a reader from its start. The file returned is the reader's end, or nil.
func (r reader) start(t *testing.T, p plan, tweaks ...func(*service, *exec.Cmd)) (s *service, end *os.File) {
	t.Helper()
	var w *os.File
	s = start(t, p, append(tweaks, func(s *service, cmd *exec.Cmd) {
		w, end = r.make(s)
		cmd.Stderr = w
	})...)
	_ = w.Close()
	t.Cleanup(func() { _ = end.Close() })
	return s, end
}

// Whoever reads the log: the service, its keeper and each new generation do what they are told, and end with 0.
func TestLogReaderHoldsNothingUp(t *testing.T) {
	t.Parallel()
	for _, reader := range []reader{goneReader, stoppedReader} {
		for _, how := range []string{"service", "keeper"} {
			t.Run(reader.name+"/"+how, func(t *testing.T) {
				if how == "keeper" && runtime.GOOS != "linux" {
					t.Skip("a keeper needs Linux")
				}
				s, _ := reader.start(t, plan{Keeper: how == "keeper"}, withControl)
				told := func() int { // whom an operator sends signals
					if how == "keeper" {
						return s.pgid
					}
					return s.main().PID
				}
				do := func(gen int, sig syscall.Signal, message string) {
					t.Helper()
					mark := s.mark()
					s.signal(told(), sig)
					s.eventSince(mark, gen, message)
				}
				do(1, syscall.SIGUSR2, "pulled")
				if st := s.mustControl("status"); !st.Pulled || st.Phase != drain.Pulled {
					t.Errorf("after USR2: %+v", st)
				}
				if a := s.get("/ping"); a.status != 501 {
					t.Errorf("/ping after USR2: %+v", a)
				}
				do(1, syscall.SIGUSR1, "restored")
				s.nextHas("check fails")
				do(1, syscall.SIGHUP, "swap failed")
				s.nextHas("")
				do(2, syscall.SIGHUP, "promoted")
				if how == "service" {
					s.wantExit(s.pgid, 0)
				}
				s.event(2, "older generation is gone")
				do(3, syscall.SIGHUP, "promoted")
				if st := s.mustControl("status"); st.Generation != 3 || st.Total.Swaps != 2 || st.Total.FailedSwaps != 1 {
					t.Errorf("after two swaps: %+v", st)
				} else if reader.name == "gone" && st.Total.LogDropped == 0 {
					t.Error("lines that nobody could read are not counted")
				}
				if a := s.get("/ping"); a.status != 200 {
					t.Errorf("/ping: %+v", a)
				}
				do(3, syscall.SIGTERM, "stopped")
				s.gone()
				s.wantExit(s.pgid, 0)
				if how == "service" {
					s.wantExit(s.main().PID, 0)
				}
			})
		}
	}
}

// A second TERM ends what the first waits for, and one that comes while the last lines are waited for ends that.
func TestLogReaderAndTwoStops(t *testing.T) {
	t.Parallel()
	for _, reader := range []reader{goneReader, stoppedReader} {
		t.Run(reader.name, func(t *testing.T) {
			s, _ := reader.start(t, plan{DrainTimeout: time.Hour})
			c, _ := s.slow("gate")
			defer c.Close()
			s.signal(s.pgid, syscall.SIGTERM)
			s.event(1, "draining")
			s.signal(s.pgid, syscall.SIGTERM)
			if r := s.event(1, "cut off"); !strings.Contains(r.Err, "asked twice") {
				t.Errorf("%v", r)
			}
			_ = syscall.Kill(s.pgid, syscall.SIGTERM) // or it has ended before
			s.wantExit(s.pgid, 1)
		})
	}
}

// A reader that goes on finds all lines, stamped with when it happened.
func TestLogReaderGoesOn(t *testing.T) {
	s, end := stoppedReader.start(t, plan{})
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
		var b strings.Builder
		buf := make([]byte, 1<<16)
		for {
			n, err := end.Read(buf)
			b.Write(buf[:n])
			if err != nil {
				text <- b.String()
				return
			}
		}
	}()
	return text
}

// OnEvent, and a logger's handler, may call every method of the Service, and may block.
func TestCallbacks(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"OnEvent calls", "logger calls"} {
		t.Run(what, func(t *testing.T) {
			s := start(t, plan{Callback: what})
			s.swap()
			s.wantExit(s.pgid, 0)
			s.noteSince(0, s.pgid, "called at ready")
			s.noteSince(0, s.pgid, "called at stopped")
			s.noteSince(0, s.main().PID, "called at promoted")
			s.stop()
			s.noteSince(0, s.main().PID, "called at stopped")
		})
	}
	for _, what := range []string{"OnEvent blocks", "logger blocks"} {
		t.Run(what, func(t *testing.T) {
			s := start(t, plan{Callback: what}, withControl)
			s.noteSince(0, s.pgid, "blocks")
			s.signal(s.pgid, syscall.SIGHUP)
			s.noteSince(0, s.event(2, "starting").PID, "blocks")
			s.wantExit(s.pgid, 0)
			st := s.mustControl("status")
			if st.Generation != 2 || st.Phase != drain.Ready {
				t.Errorf("%+v", st)
			}
			s.signal(st.PID, syscall.SIGTERM)
			s.wantExit(st.PID, 0)
			s.gone()
		})
	}
	for _, what := range []string{"OnEvent stops", "logger stops"} {
		t.Run(what, func(t *testing.T) {
			s := start(t, plan{Callback: what})
			s.noteSince(0, s.pgid, "stop returned: <nil>")
			s.event(1, "stopped")
			s.wantExit(s.pgid, 0)
		})
	}
	for _, what := range []string{"OnEvent swaps", "logger swaps"} {
		t.Run(what, func(t *testing.T) {
			s := start(t, plan{Callback: what})
			s.noteSince(0, s.pgid, "swap returned: <nil>")
			s.event(2, "promoted")
			s.wantExit(s.pgid, 0)
			s.stop()
		})
	}
	t.Run("logger panics", func(t *testing.T) {
		s := start(t, plan{Callback: "logger panics"})
		s.swap()
		s.swap()
		s.stop()
	})
	t.Run("OnEvent panics", func(t *testing.T) {
		s := begin(t, plan{Callback: "OnEvent panics"})
		s.wantExit(s.pgid, 2)
	})
}
