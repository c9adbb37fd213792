//go:build unix

package drain_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// strangerEnv names the socket that the test binary asks when it runs as another user.
const strangerEnv = "BATON_TEST_STRANGER"

// strangerMain prints what it got.
func strangerMain(socket string) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Print(err)
		os.Exit(0)
	}
	_ = nc.SetDeadline(time.Now().Add(hung))
	_, _ = io.WriteString(nc, "POST /stop HTTP/1.1\r\nHost: any\r\n\r\n")
	got, _ := io.ReadAll(nc)
	fmt.Printf("got %q", got)
	os.Exit(0)
}

func TestControlGivesStrangersNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, who may be another user")
	}
	s := start(t, plan{}, withControl)
	s.swap() // the socket that was passed on is as choosy
	const nobody = 65534
	ask := func(as uint32) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(s.dir, "srv"))
		cmd.Env = append(os.Environ(), strangerEnv+"="+s.plan.Control)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: as, Gid: as}}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("a process of user %d: %v", as, err)
		}
		return string(out)
	}
	must(t, os.Chmod(s.dir, 0o755))
	if got := ask(nobody); !strings.Contains(got, "permission denied") {
		t.Errorf("a stranger at a socket of mode 0600: %s", got)
	}
	must(t, os.Chmod(s.plan.Control, 0o666))
	if got := ask(nobody); got != `got ""` {
		t.Errorf("a stranger at a socket of mode 0666: %s", got)
	}
	s.wantNone(0, "stopping")
	if got := ask(0); !strings.HasPrefix(got, `got "HTTP/1.1 200 OK`) {
		t.Errorf("root: %s", got)
	}
	s.gone()
}

// A service of another user takes commands of root too.
func TestControlTakesRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const nobody = 65534
	s := start(t, plan{}, withControl, func(s *service, cmd *exec.Cmd) {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		must(t, os.Chown(s.dir, nobody, nobody))
	})
	s.mustControl("swap")
	s.mustControl("stop")
	s.wantNoControl()
}

func TestControlBearsGarbageAndSlowClients(t *testing.T) {
	s := start(t, plan{}, withControl)
	l := s.drive(4, time.Millisecond)
	for range 2 {
		for _, text := range []string{
			"", "G", "\x00\xff\r\n\r\n", "POST /stop",
			"POST /swap HTTP/1.1\r\nHost: any\r\nContent-Length: 1000000\r\n",
			"\x16\x03\x01\x02\x00\x01\x00", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /stop HTTP/9.9\r\n\r\n",
			"POST /st%6fp%00 HTTP/1.1\r\nHost: any\r\n\r\n",
			"GET /" + strings.Repeat("x", 1<<16), "GET / HTTP/1.1\r\nX: " + strings.Repeat("y", 1<<20),
		} {
			for range 4 {
				nc := have(net.Dial("unix", s.plan.Control))(t)
				defer nc.Close() // they stay
				_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = io.WriteString(nc, text)
			}
		}
		s.mustControl("status")
		s.mustControl("swap")
	}
	s.wantAlone(s.event(3, "promoted").PID)
	// A client that is slow to send and to read, with a request that can be acted on.
	slow := have(net.Dial("unix", s.plan.Control))(t)
	defer slow.Close()
	_, _ = io.WriteString(slow, "POST /pull HTTP/1.1\r\nHost: any\r\nContent-Length: 1000000\r\n\r\nx")
	s.event(3, "pulled")
	s.mustControl("restore")
	l.end()
	begun := time.Now()
	s.mustControl("stop")
	if took := time.Since(begun); took > hung/2 {
		t.Errorf("the stop took %v", took)
	}
	s.wantNobody()
	s.wantNothingLost()
	if log, err := os.ReadFile(s.logFile()); err != nil || bytes.Contains(log, []byte("panic")) {
		t.Errorf("%v\n%s", err, log)
	}
}

// Who waits for a pull while another generation takes over has the other pulled: that is what he asked for.
func TestControlPullThatASwapOvertakes(t *testing.T) {
	s := start(t, plan{PullMin: hung, PullMax: 2 * hung}, withControl)
	s.plan.PullMin, s.plan.PullMax = 0, hung
	s.replan()
	answer := s.controlLater("pull")
	s.event(1, "pulled")
	s.mustControl("swap")
	s.wantAnswer(answer)
	s.event(2, "pulled")
	if st := s.mustControl("status"); st.Generation != 2 || !st.Pulled || !st.Noticed {
		t.Errorf("%+v", st)
	}
	s.mustControl("stop")
}

// A socket file whose process was killed is replaced.
func TestControlReplacesAStaleSocket(t *testing.T) {
	s := start(t, plan{}, withControl)
	s.signal(s.pgid, syscall.SIGKILL)
	s.gone()
	_, err := s.control("stop")
	s.wantWords(err, "refused", "does the service run")
	again := start(t, plan{Control: s.plan.Control})
	if st := again.mustControl("status"); st.PID != again.pgid {
		t.Errorf("%+v", st)
	}
	again.mustControl("stop")
	again.wantNoControl()
}

// Another generation may take over while a stop is being asked for: the client asks again, and all are gone in the end.
func TestControlStopThatComesWithAPromotion(t *testing.T) {
	eachOf(t, func(t *testing.T, _ int) { // the old generation finds out both at once
		s, _ := stoppedAtReady(t, plan{}, withControl)
		answer := s.controlLater("stop")
		s.signal(s.pgid, syscall.SIGCONT)
		s.wantAnswer(answer)
		s.wantNobody()
		s.wantNoControl()
	}, 1, 2, 3, 4)
}

// A new version may have its control socket elsewhere, or have none.
func TestControlSocketOfANewVersion(t *testing.T) {
	s := start(t, plan{}, withControl)
	first := s.plan.Control
	next := func(path, fault string) {
		t.Helper()
		s.plan.Control = path
		s.nextHas(fault)
	}
	wantGeneration := func(n int) {
		t.Helper()
		if st := s.mustControl("status"); st.Generation != n {
			t.Errorf("generation %d answers; want %d", st.Generation, n)
		}
	}
	wantNone := func(path string) {
		t.Helper()
		s.eventually(path+" to be gone", func() bool { _, err := os.Lstat(path); return err != nil })
	}

	other := filepath.Join(s.dir, "other")
	next(other, "check fails")
	_, err := s.controlAt(first, "swap")
	s.wantWords(err, "the database is away")
	wantNone(other)
	next(first, "")
	wantGeneration(1)

	next(other, "")
	_, err = s.controlAt(first, "swap")
	must(t, err)
	wantGeneration(2)
	wantNone(first)

	must(t, os.Symlink(s.dir, filepath.Join(s.dir, "link")))
	next(filepath.Join(s.dir, "link", "other"), "") // the same
	s.mustControl("swap")
	wantGeneration(3)
	s.event(3, "promoted")

	must(t, os.Remove(other)) // by a zealous cleaner
	s.swap()
	wantGeneration(4)

	file := filepath.Join(s.dir, "file")
	must(t, write("precious", 0o600)(file))
	next(file, "")
	_, err = s.controlAt(other, "swap")
	s.wantWords(err, "Config.ControlSocket", "no socket", "generation 4 serves on")

	next("", "")
	_, err = s.controlAt(other, "swap")
	must(t, err)
	s.event(5, "promoted")
	wantNone(other)

	next(other, "")
	s.swap()
	wantGeneration(6)
	must(t, os.Rename(file, other)) // somebody has put his own there
	s.stop()
	if text, err := os.ReadFile(other); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}
