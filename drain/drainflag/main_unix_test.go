//go:build unix

package drainflag_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

// TestMain makes this binary a service when serviceEnv is set.
func TestMain(m *testing.M) {
	if os.Getenv(serviceEnv) == "" {
		os.Exit(m.Run())
	}
	addr := flag.String("addr", "127.0.0.1:0", "listen on this `host:port`")
	served := false
	drainflag.Main("APP_", drain.Config{Probation: time.Nanosecond}, func(cfg drain.Config) error {
		served = true
		return serve(cfg, *addr)
	})
	if served {
		fmt.Println("main returns")
	}
}

const serviceEnv = "DRAINFLAG_SERVICE"

func serve(cfg drain.Config, addr string) error {
	cfg.OnEvent = func(e drain.Event) {
		if e.Phase == drain.Ready {
			fmt.Println("ready")
		}
	}
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", addr, err)
	}
	svc.Serve(ln, &http.Server{})
	return svc.Run(context.Background())
}

// app returns the service's command, with env besides the environment of this process.
func app(env string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), serviceEnv+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, strings.Fields(env)...)
	return cmd
}

// run runs it to its end.
func run(t *testing.T, env string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := app(env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestExitCodes: none of these starts.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	const nowhere = "300.0.0.1:80"
	for _, c := range []struct {
		env, args string
		code      int
		want      string
	}{
		{"", "-help", 0, "-drain-timeout time"},
		{"", "-drain-timout 1s", 2, "flag provided but not defined: -drain-timout"},
		{"", "-drain-timeout 1", 2, "-drain-timeout: want a number with its unit"},
		{"APP_DRAIN_TIMEOUT=1", "", 2, `APP_DRAIN_TIMEOUT is "1", and -drain-timeout cannot be that: want`},
		{"APP_DRAIN_TIMEOUT=1", "-help", 0, "-drain-timeout time"},
		{"", "start", 1, `\"start\" is no flag: leave it out, or see -help`},
		{"", "-keep-pull false", 1, `\"false\" is no flag`},
		{"", "-s reload", 1, "-s needs -control, the socket of the running service"},
		{"", "-s relod -control /nowhere/sock", 1, `-s relod: drain: control: unknown command \"relod\": want status`},
		{"", "-s health -control /nowhere/sock", 1, "does the service run, with this -control?"},
		{"", "-s status -control /nowhere/sock", 1, "does the service run, with this -control?"},
		{"APP_CONTROL=/nowhere/sock", "-s status", 1, "with this -control? (-control is from APP_CONTROL)"},
		{"APP_S=stop", "-addr " + nowhere, 1, "-addr " + nowhere},
		{"APP_ADDR=" + nowhere, "", 1, "(-addr is from APP_ADDR)"},
		{"APP_PULL_MIN=1m", "", 1, "-pull-min is 1m0s"},
		{"", "-pidfile /nowhere/pid -addr 127.0.0.1:0", 1, "/nowhere/pid"},
	} {
		t.Run(c.env+" "+c.args, func(t *testing.T) {
			t.Parallel()
			out, errs, code := run(t, c.env, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(errs, c.want) || out != "" {
				t.Errorf("exit code %d, want %d; %q %q, want %q", code, c.code, out, errs, c.want)
			}
		})
	}
}

// TestCommands: what a running service is told, by a second process of the same binary.
func TestCommands(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "drainflag") // a short path, for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	pids := filepath.Join(dir, "pids")
	if err := os.Mkdir(pids, 0o700); err != nil {
		t.Fatal(err)
	}
	env := "APP_CONTROL=" + filepath.Join(dir, "s") + " APP_PULL_MAX=1ns APP_PIDFILE=" + filepath.Join(pids, "pid")
	service := app(env, "-drain-timeout", "10s")
	stdout, err := service.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	service.Stderr = &log
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Process.Kill(); _ = service.Wait() })
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("not ready: %q\n%s", lines.Text(), log.String())
	}

	want := func(phase drain.Phase, generation int) {
		t.Helper()
		out, errs, code := run(t, env, "-s", "status")
		var st drain.Status
		if err := json.Unmarshal([]byte(out), &st); err != nil || code != 0 ||
			st.Phase != phase || st.Generation != generation {
			t.Fatalf("-s status: %v, exit code %d, %q %q; want %s, %d", err, code, out, errs, phase, generation)
		}
		out, errs, code = run(t, env, "-s", "health")
		if want := fmt.Sprintf("%s, generation %d\n", phase, generation); code != 0 || out+errs != want {
			t.Fatalf("-s health: exit code %d, %q %q; want %q", code, out, errs, want)
		}
	}
	tell := func(command string) {
		t.Helper()
		if out, errs, code := run(t, env, "-s", command); code != 0 || out+errs != "" {
			t.Fatalf("-s %s: exit code %d, %q %q", command, code, out, errs)
		}
	}
	want(drain.Ready, 1)
	tell("pull")
	want(drain.Pulled, 1)
	tell("restore")
	want(drain.Ready, 1)
	tell("reload")
	want(drain.Ready, 2)
	tell("swap")
	want(drain.Ready, 3)
	if out, errs, code := run(t, env, "-s", "metrics"); code != 0 || !strings.Contains(out, "baton_swaps_total") {
		t.Errorf("-s metrics: exit code %d, %q %q", code, out, errs)
	}
	if err := os.RemoveAll(pids); err != nil {
		t.Fatal(err)
	}
	named := func(text string) bool {
		return strings.Contains(text, "-pidfile: can't write") && !strings.Contains(text, "Config.PIDFile")
	}
	if _, errs, code := run(t, env, "-s", "reload"); code != 1 || !named(errs) {
		t.Errorf("-s reload without the folder of the PID file: exit code %d, %q", code, errs)
	}
	tell("stop")
	if _, errs, code := run(t, env, "-s", "stop"); code != 1 || !strings.Contains(errs, "does the service run") {
		t.Errorf("-s stop of a stopped service: exit code %d, %q", code, errs)
	}
	returned := 0
	for lines.Scan() { // to the end of all generations
		if lines.Text() == "main returns" {
			returned++
		}
	}
	if returned != 3 {
		t.Errorf("main has returned in %d of 3 generations", returned)
	}
	if err := service.Wait(); err != nil || !named(log.String()) {
		t.Errorf("%v; the log names no flag, or a field: %s", err, log.String())
	}
}

// TestHealth: a supervisor ends what is unhealthy. What is out of its balancer, or finishes its requests, is not.
func TestHealth(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer string
		code   int
		want   string
	}{
		{`{"phase":"ready","generation":1}`, 0, "ready, generation 1\n"},
		{`{"phase":"pulled","generation":2,"pulled":true,"unhealthy":"no database"}`, 0, "pulled, generation 2\n"},
		{`{"phase":"swapping","generation":3}`, 0, "swapping, generation 3\n"},
		{`{"phase":"draining","generation":4}`, 0, "draining, generation 4\n"},
		{`{"phase":"starting"}`, 1, "-s health: drain: control: the service does not serve: it is starting"},
		{`{"phase":"probation"}`, 1, "it is probation"},
		{`{"phase":"stopped"}`, 1, "it is stopped"},
		{`{}`, 1, "does not serve"},
		{`nonsense`, 1, "the process at this socket is not a Baton service"},
		{"", 1, "-s health: no answer in 5s"},
	} {
		t.Run(c.answer, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "drainflag")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			ln, err := net.Listen("unix", filepath.Join(dir, "s"))
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.answer == "" {
					<-r.Context().Done()
				}
				_, _ = fmt.Fprint(w, c.answer)
			})}
			t.Cleanup(func() { _ = srv.Close() })
			go func() { _ = srv.Serve(ln) }()
			out, errs, code := run(t, "", "-s", "health", "-control", ln.Addr().String())
			if code != c.code || !strings.Contains(out+errs, c.want) {
				t.Errorf("exit code %d, want %d; %q %q, want %q", code, c.code, out, errs, c.want)
			}
		})
	}
}

// TestQuestionsToAServiceThatHangs: what only asks has its answer at once or never. A cron job that asks for metrics
// would hang, too, and the next one beside it.
func TestQuestionsToAServiceThatHangs(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "drainflag")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "s")) // the kernel connects, and nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	for _, command := range []string{"status", "metrics", "health"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			_, errs, code := run(t, "", "-s", command, "-control", ln.Addr().String())
			if want := "-s " + command + ": no answer in 5s"; code != 1 || !strings.Contains(errs, want) {
				t.Errorf("exit code %d, %q; want 1, %q", code, errs, want)
			}
		})
	}
}
