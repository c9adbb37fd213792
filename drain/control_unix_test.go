//go:build unix

package drain_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// withControl gives a service a control socket.
func withControl(s *service, _ *exec.Cmd) {
	s.plan.Control = filepath.Join(s.dir, "control")
	s.replan()
}

// control gives a command to the service and waits until it is done.
func (s *service) control(command string) (drain.Status, error) {
	s.Helper()
	return s.controlAt(s.plan.Control, command)
}

func (s *service) controlAt(socket, command string) (st drain.Status, err error) {
	s.Helper()
	ctx, done := context.WithTimeout(context.Background(), hung)
	defer done()
	text, err := drain.Control(ctx, socket, command)
	if err == nil {
		err = json.Unmarshal(text, &st)
	} else if len(text) > 0 {
		s.Errorf("an answer with an error: %q", text)
	}
	return st, err
}

func (s *service) mustControl(command string) drain.Status {
	s.Helper()
	st, err := s.control(command)
	if err != nil {
		s.Fatalf("%s: %v", command, err)
	}
	return st
}

// controlLater gives a command without waiting for it.
func (s *service) controlLater(command string) <-chan error {
	answer := make(chan error, 1)
	go func() {
		_, err := s.control(command)
		answer <- err
	}()
	return answer
}

func (s *service) wantAnswer(answer <-chan error, words ...string) {
	s.Helper()
	select {
	case err := <-answer:
		switch {
		case len(words) == 0 && err != nil:
			s.Errorf("the answer is an error: %v", err)
		case len(words) > 0:
			s.wantWords(err, words...)
		}
	case <-time.After(hung):
		s.Fatal("no answer")
	}
}

// curl is a request as another client than Control might send it.
func (s *service) curl(method, path string) (status int, h http.Header, body string) {
	s.Helper()
	nc := have(net.Dial("unix", s.plan.Control))(s)
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(hung))
	_, _ = fmt.Fprintf(nc, "%s %s HTTP/1.1\r\nHost: any\r\n\r\n", method, path)
	_ = nc.(*net.UnixConn).CloseWrite() // as "nc -N" does it
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Error(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func (s *service) wantNoControl() {
	s.Helper()
	if _, err := os.Lstat(s.plan.Control); err == nil {
		s.Errorf("the control socket is left")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(s.plan.Control), ".control*")); len(left) > 0 {
		s.Errorf("left: %q", left)
	}
}

func TestControlAnswersWhenDone(t *testing.T) {
	s := start(t, plan{}, withControl)
	if info, err := os.Lstat(s.plan.Control); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the control socket: %v, %v; want mode 0600", info.Mode(), err)
	}
	if st := s.mustControl("status"); st.PID != s.pgid || st.Phase != drain.Ready || st.Generation != 1 ||
		len(st.Listeners) != 1 {
		t.Errorf("%+v", st)
	}
	s.wantPing(200)

	if st := s.mustControl("pull"); !st.Pulled || !st.Noticed || st.Phase != drain.Pulled {
		t.Errorf("%+v", st)
	}
	s.pullOver(0, 1)
	s.wantPing(501)
	if st := s.mustControl("restore"); st.Pulled || st.Phase != drain.Ready {
		t.Errorf("%+v", st)
	}
	s.wantPing(200)

	for i, command := range []string{"swap", "reload"} {
		gen, old := i+1, s.mustControl("status").PID
		st := s.mustControl(command)
		if st.Generation != gen || st.PID != old || st.LastSwap == nil || st.LastSwap.Err != "" {
			t.Errorf("%+v; want the answer of generation %d", st, gen)
		}
		if st := s.mustControl("status"); st.Generation != gen+1 || st.PID == old {
			t.Errorf("%+v; want generation %d to answer the next request", st, gen+1)
		}
	}

	pid := s.mustControl("status").PID
	if st := s.mustControl("stop"); st.PID != pid || st.Phase != drain.Stopped {
		t.Errorf("%+v", st)
	}
	s.wantNobody()
	s.wantNoControl()
	s.wantEnd(0, "")
	if _, err := s.control("status"); err == nil {
		t.Error("who is gone answers")
	} else {
		s.wantWords(err, "no such file", "does the service run")
	}
}

func TestControlSaysWhyNot(t *testing.T) {
	s := start(t, plan{}, withControl)
	l := s.drive(4, 4*time.Millisecond)
	fails := func(provoke func(), words ...string) {
		t.Helper()
		provoke()
		_, err := s.control("reload")
		s.wantWords(err, append(words, "generation 1 serves on")...)
		if st := s.mustControl("status"); st.PID != s.pgid || st.Phase != drain.Ready ||
			st.LastSwap.Err != err.Error() {
			t.Errorf("%+v; want its error to be %v", st.LastSwap, err)
		}
	}
	fails(func() { s.replace(foreign) }, "is no program for this machine")
	fails(func() { s.replace(write("", 0o755)) }, "is empty")
	s.install()
	fails(func() { s.nextHas("crash at start") }, "exit status 3")
	fails(func() { s.nextHas("check fails") }, "the database is away")
	if status, h, text := s.curl("POST", "/swap"); status != 500 ||
		!strings.HasSuffix(text, "the database is away (child "+childIn(text)+" exited: exit status 1)\n") ||
		!strings.HasPrefix(h.Get("Content-Type"), "text/plain") {
		t.Errorf("%d, %q", status, text)
	}
	s.nextHas("")

	open := s.beginSwap("in Ready")
	_, err := s.control("swap")
	s.wantWords(err, "a swap is under way")
	if status, _, text := s.curl("POST", "/swap"); status != 409 || !strings.HasSuffix(text, "\n") {
		t.Errorf("%d, %q", status, text)
	}
	open()
	s.event(2, "promoted")

	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/swap", 405, "POST"}, {"PUT", "/stop", 405, "POST"}, {"POST", "/status", 405, "GET, HEAD"},
		{"GET", "/", 404, ""}, {"POST", "/swap/x", 404, ""},
	} {
		if status, h, _ := s.curl(c.method, c.path); status != c.status || h.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q", c.method, c.path, status, h.Get("Allow"))
		}
	}
	if status, h, text := s.curl("GET", "/status"); status != 200 || h.Get("Content-Type") != "application/json" ||
		!strings.HasSuffix(text, "}\n") {
		t.Errorf("%d, %v, %q", status, h, text)
	}
	_, err = s.control("start")
	s.wantWords(err, `unknown command "start"`, "want status, health, metrics, swap")
	_, err = drain.Control(context.Background(), "", "stop")
	s.wantWords(err, "Config.ControlSocket")
	l.end()
	s.mustControl("stop")
}

// childIn is how tableflip names a child in a text.
func childIn(text string) string {
	_, rest, _ := strings.Cut(text, "(child ")
	child, _, _ := strings.Cut(rest, " exited")
	return child
}

func TestControlMovesAlongUnderLoad(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung, MaxGenerations: 16}, withControl)
	c, open := s.slow("slow") // the first generation lives on, and must keep off the socket
	l := s.drive(8, 2*time.Millisecond)
	quit, asked := make(chan struct{}), make(chan error, 1)
	go func() { // somebody who looks at the status all the time
		last := 1
		for {
			select {
			case <-quit:
				asked <- nil
				return
			default:
			}
			st, err := s.control("status")
			if err != nil || st.Generation < last {
				asked <- fmt.Errorf("status of generation %d after %d: %w", st.Generation, last, err)
				return
			}
			last = st.Generation
		}
	}()
	for gen := 1; gen <= 10; gen++ {
		status, h, text := s.curl("POST", "/swap")
		var st drain.Status
		if err := json.Unmarshal([]byte(text), &st); err != nil || status != 200 || st.Generation != gen ||
			h.Get("Baton-Pid") != strconv.Itoa(st.PID) {
			t.Fatalf("swap %d: %d, %s", gen, status, text)
		}
		if st := s.mustControl("status"); st.Generation != gen+1 {
			t.Errorf("generation %d answers; want %d", st.Generation, gen+1)
		}
	}
	close(quit)
	s.wantAnswer(asked)
	l.end()
	s.finishSlow(c, open)
	_ = c.Close()
	s.mustControl("stop")
	s.gone()
	s.wantNothingLost()
	s.wantNoControl()
}

func TestControlStop(t *testing.T) {
	t.Parallel()
	t.Run("finishes what is in flight", func(t *testing.T) {
		s := start(t, plan{}, withControl)
		c, open := s.slow("slow")
		first, second := s.controlLater("stop"), s.controlLater("stop")
		s.event(1, "draining")
		third := s.controlLater("stop")
		st := s.mustControl("status")
		if st.Phase != drain.Draining {
			t.Errorf("%+v", st)
		}
		for _, command := range []string{"swap", "restore"} {
			_, err := s.control(command)
			s.wantWords(err, "the service is ")
		}
		s.finishSlow(c, open)
		for _, answer := range []<-chan error{first, second, third} {
			s.wantAnswer(answer)
		}
		s.wantNobody()
		s.wantEnd(0, "")
	})
	t.Run("and a signal leave now", func(t *testing.T) {
		s := start(t, plan{}, withControl)
		s.slow("slow")
		answer := s.controlLater("stop")
		s.event(1, "stopping")
		s.signal(s.pgid, syscall.SIGTERM)
		s.wantAnswer(answer, "asked twice")
		s.wantEnd(1, "asked twice")
	})
	t.Run("by a signal is waited for", func(t *testing.T) {
		s := start(t, plan{}, withControl)
		c, open := s.slow("slow")
		s.tell(s.pgid, syscall.SIGTERM)
		answer := s.controlLater("stop")
		s.event(1, "draining")
		s.finishSlow(c, open)
		s.wantAnswer(answer)
		s.wantEnd(0, "")
	})
	t.Run("in a swap", func(t *testing.T) {
		s := start(t, plan{}, withControl)
		swap := s.controlLater("swap")
		s.event(1, "swap begun")
		s.mustControl("stop")
		<-swap // which of them was first is not certain
		s.wantNobody()
		s.wantNoControl()
	})
}
