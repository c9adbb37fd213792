//go:build unix

package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestService: both services answer alike, and as the tour expects.
func TestService(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"gin", "nethttp"} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.deploy(build(t, service, "v1", ""))
			s.want(0, "started", "start")
			pid := s.pid()

			for _, r := range []struct {
				request string
				status  int
				body    string
			}{
				{"GET /ping", 200, `{"code":0,"message":"success"}`},
				{"GET /livez", 200, `{"code":0,"message":"success"}`},
				{"POST /echo", 200, "hello"},
				{"GET /slow?d=1ms", 200, "slept 1ms"},
				{"GET /slow?d=0s", 200, "slept 0s"},
				{"GET /slow?d=2", 400, "as in /slow?d=2s"},
				{"GET /slow?d=-1s", 400, "as in /slow?d=2s"},
				{"GET /slow?d=61s", 400, "from 0s to 1m0s"},
				{"GET /whoami", 200, fmt.Sprintf(`"pid":%d,`, pid)},
				{"GET /nothing", 404, ""},
			} {
				method, path, _ := strings.Cut(r.request, " ")
				req, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader("hello"))
				if err != nil {
					t.Fatal(err)
				}
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if res.StatusCode != r.status || !strings.Contains(string(body), r.body) {
					t.Errorf("%s: %s %s, want %d %s", r.request, res.Status, body, r.status, r.body)
				}
				if path == "/ping" || path == "/livez" {
					continue // the library's
				}
				if got := res.Header.Get("X-Pid"); got != strconv.Itoa(pid) {
					t.Errorf("%s: X-Pid: %q, want %d", r.request, got, pid)
				}
				if got := res.Header.Get("X-Generation"); got != "1" {
					t.Errorf("%s: X-Generation: %q, want 1", r.request, got)
				}
			}

			large := bytes.Repeat([]byte("0123456789abcdef"), 2<<20) // 32 MiB, all it takes
			for extra, status := range []int{200, 413} {
				upload := bytes.NewReader(append(large, make([]byte, extra)...))
				res, err := http.Post("http://"+s.addr+"/echo", "", upload)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if res.StatusCode != status {
					t.Errorf("POST /echo of %d bytes: %s, want %d", len(large)+extra, res.Status, status)
				}
				if status == 200 && !bytes.Equal(body, large) {
					t.Errorf("POST /echo of %d bytes: %d others come back", len(large), len(body))
				}
			}
			s.want(0, "stopped", "stop")
		})
	}
}

// TestSlowEndsWithItsClient: a stop would wait a minute otherwise.
func TestSlowEndsWithItsClient(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"gin", "nethttp"} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "-drain-timeout", "10m")
			s.deploy(build(t, service, "v1", ""))
			s.want(0, "started", "start")
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "GET /slow?d=1m HTTP/1.1\r\nHost: test\r\n\r\n")
			_ = c.Close()
			s.want(0, "stopped", "stop", "STOP_TIMEOUT=40")
		})
	}
}

// TestExitCode: 0 after a clean stop, 1 and a line in the log when something
// was cut off.
func TestExitCode(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"gin", "nethttp"} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			for code, hold := range []bool{false, true} {
				s := newSite(t)
				s.deploy(build(t, service, "v1", ""))
				var log bytes.Buffer
				cmd := exec.Command(s.setting("BIN"), "-addr", s.addr, "-pidfile", s.setting("PIDFILE"),
					"-drain-timeout", []string{"30s", "300ms"}[code], "-pull-max", "1ms")
				cmd.Stderr = &log
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				s.eventually("the PID file is there", func() bool { return s.pid() == cmd.Process.Pid })
				if hold {
					s.hold()
				}
				_ = cmd.Process.Signal(syscall.SIGTERM)
				if err := cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
					t.Fatal(err)
				}
				cut := strings.Contains(log.String(), "cut off 1 active")
				if got := cmd.ProcessState.ExitCode(); got != code || hold && !cut {
					t.Errorf("held request: %v: exit code %d, want %d\n%s", hold, got, code, &log)
				}
				if s.pid() != 0 {
					t.Error("the PID file is left over")
				}
			}
		})
	}
}

// TestWrongFlags: the error names the flag and what to do.
func TestWrongFlags(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, service := range []string{"gin", "nethttp"} {
		bin := build(t, service, "v1", "")
		for _, wrong := range []struct {
			args string
			code int
			says []string
		}{
			{"-addr " + taken.Addr().String(), 1, []string{"-addr", "in use", "stop it"}},
			{"-addr 8080", 1, []string{"-addr", "want host:port"}},
			{"-addr 192.0.2.1:8080", 1, []string{"-addr", "use one that it has"}},
			{"-pidfile /nonexistent/pid", 1, []string{"-pidfile", "name a file in a folder that exists"}},
			{"-pidfile /", 1, []string{"-pidfile"}},
			{"-probation -1s", 1, []string{"-probation", "want 0"}},
			{"-pull-max -1s", 1, []string{"-pull-max", "want 0"}},
			{"-drain-timeout -1s", 1, []string{"-drain-timeout", "want 0"}},
			{"-swap-timeout -1s", 1, []string{"-swap-timeout", "want 0"}},
			{"-swap-timeout 1s -probation 2s", 1, []string{"-swap-timeout", "longer than -probation"}},
			{"-probation soon", 2, []string{"-probation"}},
			{"-nothing", 2, []string{"-nothing"}},
			{"start", 1, []string{"start", "leave it out"}},
		} {
			out, err := exec.Command(bin, strings.Fields(wrong.args)...).CombinedOutput()
			if code := errCode(err); code != wrong.code {
				t.Errorf("%s %s: exit code %d, want %d\n%s", service, wrong.args, code, wrong.code, out)
			}
			for _, words := range wrong.says {
				if !strings.Contains(string(out), words) {
					t.Errorf("%s %s: says no %q:\n%s", service, wrong.args, words, out)
				}
			}
		}
	}
}

func errCode(err error) int {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}
