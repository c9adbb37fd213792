//go:build unix

package control

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// held is a request whose handler runs and waits for the rest of its body.
type held struct {
	net.Conn
	r *bufio.Reader
}

func (s *site) hold() *held {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
	h := &held{c, bufio.NewReader(c)}
	// The handler has begun to read when net/http says go on.
	res, err := http.ReadResponse(h.r, nil)
	if err != nil || res.StatusCode != http.StatusContinue {
		s.t.Fatalf("POST /echo: %v %v, want 100", res, err)
	}
	return h
}

func (h *held) finish() (string, error) {
	if _, err := io.WriteString(h, "body"); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(h.r, nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s", res.StatusCode, body), err
}

func TestStopWaitsForRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.want(0, "started", "start")
	pid := s.pid()
	h := s.hold()

	stopped := make(chan string)
	go func() {
		said, code := s.run("stop")
		stopped <- fmt.Sprint(code, " ", said)
	}()
	s.eventually("no new connection is accepted", func() bool {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	select {
	case said := <-stopped:
		t.Fatalf("stop has ended with a request in flight: %s", said)
	default:
	}
	if answer, err := h.finish(); err != nil || answer != "200 body" {
		t.Fatalf("the request in flight: %q, %v", answer, err)
	}
	if said := <-stopped; !strings.HasPrefix(said, "0 ") {
		t.Fatalf("stop: %s", said)
	}
	if alive(pid) {
		t.Fatal("stop has ended, and the process lives")
	}
}

func TestStopTimeout(t *testing.T) {
	t.Parallel()
	s := newSite(t, "-drain-timeout", "10m")
	s.want(0, "started", "start")
	pid := s.pid()
	h := s.hold()
	s.want(150, "KILL=1", "stop", "STOP_TIMEOUT=5") // time enough for -s to be heard
	// A second TERM would cut the request off.
	s.want(150, "KILL=1", "restart", "STOP_TIMEOUT=1")
	if !alive(pid) {
		t.Fatal("stop has killed without KILL=1")
	}
	s.want(0, "draining", "status")
	if answer, err := h.finish(); err != nil || answer != "200 body" {
		t.Fatalf("the request in flight: %q, %v", answer, err)
	}
	s.eventually("the process is gone", func() bool { return !alive(pid) })
	s.want(3, "not running", "status")
}

func TestStopKills(t *testing.T) {
	t.Parallel()
	s := newSite(t, "-drain-timeout", "10m")
	s.want(0, "started", "start")
	pid := s.pid()
	s.hold()
	s.want(151, "killed", "stop", "STOP_TIMEOUT=1", "KILL=1")
	if alive(pid) {
		t.Fatal("it was killed, and lives")
	}
	s.want(1, "there is a PID file", "status")
	s.want(0, "left over", "start")
	s.hold()
	s.want(151, "started", "restart", "STOP_TIMEOUT=1", "KILL=1")
	s.want(0, "stopped", "stop")
}

// TestDeploys: whichever way the binary was replaced, the process that runs the
// old one is ours.
func TestDeploys(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name   string
		deploy func(s *site) error
	}{
		{"rename over it", func(s *site) error { s.deploy(build(s.t, "gin", "v2", "")); return nil }},
		{"move aside", func(s *site) error {
			err := os.Rename(s.setting("BIN"), s.setting("BIN")+".old")
			s.deploy(build(s.t, "gin", "v2", ""))
			return err
		}},
		{"flip a symlink", func(s *site) error {
			// The running one was started through the link, see below.
			next := s.setting("BIN") + ".next"
			if err := os.Symlink(build(s.t, "gin", "v2", ""), next); err != nil {
				return err
			}
			return os.Rename(next, s.setting("BIN"))
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "-probation", "50ms")
			if way.name == "flip a symlink" {
				if err := os.Rename(s.setting("BIN"), s.setting("BIN")+"-v1"); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("app-v1", s.setting("BIN")); err != nil {
					t.Fatal(err)
				}
			}
			s.want(0, "started", "start")
			if err := way.deploy(s); err != nil {
				t.Fatal(err)
			}
			s.serves(s.pid(), "v1", 200)
			s.want(0, "generation 2", "reload")
			s.serves(s.pid(), "v2", 200)
			s.want(0, "stopped", "stop")
		})
	}
}

func TestRelativePaths(t *testing.T) {
	t.Parallel()
	s := newSite(t, "-probation", "50ms")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"BIN", "PIDFILE", "LOG", "CONTROL"} {
		path, err := filepath.Rel(here, s.setting(name))
		if err != nil {
			t.Fatal(err)
		}
		s.env = append(s.env, name+"="+path)
	}
	s.want(0, "started", "start")
	s.want(0, "generation 2", "reload")
	s.want(0, "generation 2", "status")
	s.want(0, "stopped", "stop")
}

func TestReloadDuringASwap(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.want(0, "started", "start")
	pid := s.pid()
	s.deploy(build(t, "gin", "v2", "hang"))
	s.want(150, "no new process", "reload", "RELOAD_TIMEOUT=5") // time enough for -s to be heard
	s.want(154, "under way", "reload")
	s.want(0, "swapping", "status")
	s.want(0, "stopped", "stop")
	if alive(pid) {
		t.Fatal("stop has ended, and the process lives")
	}
	s.want(3, "not running", "status")
}

func TestStopDuringReload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.want(0, "started", "start")
	s.deploy(build(t, "gin", "v2", "hang"))
	reloaded := make(chan string)
	go func() {
		said, code := s.run("reload")
		reloaded <- fmt.Sprint(code, " ", said)
	}()
	s.eventually("it is swapping", func() bool { return s.whoami().Phase == "swapping" })
	s.want(0, "stopped", "stop")
	if said := <-reloaded; !strings.HasPrefix(said, "1 ") {
		t.Fatalf("reload, when the service was stopped meanwhile: %s", said)
	}
}

// TestStopWithoutAnAnswer: where the socket is another's, or gone, stop is one TERM, however often it is called.
func TestStopWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	s := newSite(t, "-drain-timeout", "10m")
	s.want(0, "started", "start")
	pid := s.pid()
	const elsewhere = "CONTROL=/nonexistent/sock"
	for _, verb := range []string{"reload", "pull", "restore"} {
		s.want(153, "set CONTROL", verb, elsewhere)
	}
	s.want(4, "does not answer", "status", elsewhere)
	s.serves(pid, "v1", 200)
	h := s.hold()
	s.want(150, "still there", "stop", elsewhere, "STOP_TIMEOUT=1")
	s.want(150, "told to stop before", "stop", elsewhere, "STOP_TIMEOUT=1")
	if answer, err := h.finish(); err != nil || answer != "200 body" {
		t.Fatalf("the request in flight: %q, %v", answer, err)
	}
	s.eventually("the process is gone", func() bool { return !alive(pid) })
	s.want(0, "not running", "stop", elsewhere)
}

// TestStopCutsOff: the process is gone, but not all is well, and a script that
// asks is told. A restart starts it nevertheless.
func TestStopCutsOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, "-drain-timeout", "3s")
	s.want(0, "started", "start")
	s.hold()
	s.want(155, "cut off 1 active", "stop")
	s.want(0, "started", "start")
	s.hold()
	s.want(155, "started", "restart")
	s.serves(s.pid(), "v1", 200)
	s.want(0, "stopped", "stop")
}
