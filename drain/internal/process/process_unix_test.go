//go:build unix

package process

import (
	"bufio"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// modeEnv says what the test binary does when it runs as a process of a test.
const modeEnv = "BATON_TEST_PROCESS"

// hung is when something counts as hanging; nothing that works is near it.
const hung = time.Minute

func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	switch mode := os.Getenv(modeEnv); mode {
	case "":
		os.Exit(m.Run())
	case "tell":
		tell()
	case "tell twice": // through a process that the program starts before it takes what was passed
		out, err := exec.Command("sh", "-c", "env; ls /proc/self/fd").Output()
		fmt.Printf("%s%v\n", out, err)
	case "ready":
		files, err := Inherit()
		if err == nil {
			err = speak()
		}
		fmt.Println(files.Inherited(), err)
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "orphan": // dies as soon as it has started a child, which tells
		_, _ = Start(Command{Path: Self.Binary, Args: []string{"child"},
			Env: append(Without(Self.Env, modeEnv), modeEnv+"=tell late"), Dir: "/", Stdio: [3]int{0, 1, 2}})
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "log":
		log.Fatal("no license")
	case "tell late":
		tell()
	case "fail": // having started another process, and told which
		cmd := exec.Command("sleep", "1000")
		_ = cmd.Start()
		fmt.Println(cmd.Process.Pid)
		os.Exit(3)
	case "hang":
		cmd := exec.Command("sleep", "1000")
		_ = cmd.Start()
		fmt.Println(cmd.Process.Pid)
		<-time.After(time.Hour)
	}
	os.Exit(0)
}

// told is what a process knows of its start.
type told struct {
	Origin
	Started bool
	Err     string
	Names   []Passed
}

func tell() {
	files, err := Inherit()
	t := told{Origin: *Self, Started: Started(), Names: files.Inherited()}
	if err != nil {
		t.Err = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(t)
}

// speak says that this process is ready.
func speak() error {
	upgrader, err := Upgrader()
	if err != nil {
		return err
	}
	if os.Getenv(sentinel) != "" {
		return errors.New("the variable is there still")
	}
	if err := upgrader.Upgrade(); err == nil || !strings.Contains(err.Error(), "not ready") {
		return fmt.Errorf("Upgrade: %w", err)
	}
	return upgrader.Ready()
}

func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a command that tells.
func run(t testing.TB, cmd *exec.Cmd) (got told) {
	t.Helper()
	cmd.Env = append(cmd.Environ(), modeEnv+"=tell")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return parse(t, out)
}

func parse(t testing.TB, out []byte) (got told) {
	t.Helper()
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return got
}

// begin starts a child in a mode, and returns what it prints, and an end of its standard input.
func begin(t testing.TB, mode string, change func(*Command)) (*Child, *bufio.Reader, io.Closer) {
	t.Helper()
	in, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := Command{
		Path: self(t), Args: []string{"child"}, Env: append(os.Environ(), modeEnv+"="+mode), Dir: "/",
		Stdio: [3]int{number(in), number(w), 2},
	}
	if change != nil {
		change(&cmd)
	}
	c, err := Start(cmd)
	_, _ = in.Close(), w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Kill()
		_, _ = hold.Close(), out.Close()
	})
	_ = out.SetReadDeadline(time.Now().Add(hung))
	return c, bufio.NewReader(out), hold
}

func line(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

func happens(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(hung):
		t.Fatalf("it does not come to be %s", what)
	}
}

func TestChildIsReady(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	files := newFiles(nil)
	if err := files.AddListener("tcp", "a", ln.(*net.TCPListener)); err != nil {
		t.Fatal(err)
	}
	var also *os.File
	c, out, stdin := begin(t, "ready", func(cmd *Command) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_, also = w.Close(), r
		cmd.Files, cmd.Also = files, map[string]*os.File{"b": r}
	})
	_ = also.Close()
	if got := line(t, out); got != "[{{fd b } 5} {{listener tcp a} 8}] <nil>" {
		t.Error(got)
	}
	happens(t, "ready", c.Ready())
	if Group(c.PID) != c.PID {
		t.Errorf("its group is %d", Group(c.PID))
	}
	c.Release()
	_ = stdin.Close()
	happens(t, "gone", c.Exited())
	if got := c.Err().Error(); got != fmt.Sprintf("child pid=%d exited with 0 before it served", c.PID) {
		t.Error(got)
	}
}

// living tells whether a process lives; zombies don't.
func living(pid string) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", pid).Output()
	return err == nil && len(out) > 0 && out[0] != 'Z'
}

// A parent that is killed the moment after it has started a child has told it everything.
func TestParentIsKilledAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		cmd := exec.Command(self(t))
		cmd.Env = append(os.Environ(), modeEnv+"=orphan")
		out, err := cmd.Output() // once the child has ended, too
		if err == nil || len(out) == 0 {
			t.Fatalf("%v: %q", err, out)
		}
		if got := parse(t, out); got.Err != "" || !got.Started {
			t.Fatalf("%+v", got)
		}
	}
}

// A candidate that fails, or is killed, takes along what it has started: it may hold a port.
func TestCandidateTakesItsChildrenAlong(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ps"); err != nil {
		t.Skip(err)
	}
	wrapper := filepath.Join(t.TempDir(), "wrapper")
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\n"+self(t)+" \"$@\"\nexit $?\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ mode, path, end string }{
		{"fail", self(t), "exit status 3"}, {"fail", wrapper, "exit status 3"},
		{"hang", self(t), "signal: killed"}, {"hang", wrapper, "signal: killed"},
	} {
		t.Run(x.mode+" "+filepath.Base(x.path), func(t *testing.T) {
			t.Parallel()
			c, out, _ := begin(t, x.mode, func(cmd *Command) { cmd.Path = x.path })
			grandchild := line(t, out)
			if x.mode == "hang" {
				if !living(grandchild) {
					t.Errorf("%s does not live", grandchild)
				}
				c.Kill()
			}
			happens(t, "gone", c.Exited())
			if got := c.Err(); !strings.HasSuffix(got.Error(), " exited: "+x.end) {
				t.Error(got)
			}
			if _, err := out.ReadByte(); err != io.EOF { // sleep had it open
				t.Error(err)
			}
			for timeout := time.After(hung); living(grandchild); {
				select {
				case <-timeout:
					t.Fatalf("%s lives", grandchild)
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
}

func TestReleasedChildLeavesItsChildrenAlone(t *testing.T) {
	t.Parallel()
	c, out, _ := begin(t, "hang", nil)
	grandchild := line(t, out)
	c.Release()
	c.Kill()
	happens(t, "gone", c.Exited())
	var pid int
	_, _ = fmt.Sscan(grandchild, &pid)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// Standard error that is a socket, such as the journal's, stays that, and the parent hears what package log says.
func TestLastWordsBesideASocket(t *testing.T) {
	t.Parallel()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, _, _ := begin(t, "log", func(cmd *Command) { cmd.Stdio[2] = pair[1] })
	_ = unix.Close(pair[1])
	happens(t, "gone", c.Exited())
	journal, _ := io.ReadAll(os.NewFile(uintptr(pair[0]), "journal"))
	if got := c.Said(); !strings.HasPrefix(got, "it said last: ") || !strings.HasSuffix(got, " no license") ||
		!strings.HasSuffix(string(journal), " no license\n") {
		t.Errorf("%q; the journal has %q", got, journal)
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		path, dir string
		want      error
	}{{text, "/", syscall.ENOEXEC}, {filepath.Join(dir, "none"), "/", syscall.ENOENT}, {dir, "/", syscall.EACCES},
		{self(t), text, syscall.ENOTDIR}} {
		if _, err := Start(Command{Path: x.path, Args: []string{"x"}, Dir: x.dir,
			Stdio: [3]int{0, 1, 2}}); !errors.Is(err, x.want) {
			t.Errorf("%s in %s: %v; want %v", x.path, x.dir, err, x.want)
		}
	}
}

// What the program starts before it takes over gets nothing of what was passed.
func TestWhatIsPassedIsNobodyElses(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip(err)
	}
	_, out, _ := begin(t, "tell twice", func(cmd *Command) {
		cmd.Also = map[string]*os.File{"a": os.Stderr, "b": os.Stderr}
	})
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if slices.ContainsFunc(lines, func(s string) bool { return strings.Contains(s, "TABLEFLIP") }) {
		t.Errorf("%s", text)
	}
	for _, fd := range []string{"4", "5", "6"} { // 3 is the folder's
		if slices.Contains(lines, fd) {
			t.Errorf("%s is there in %s", fd, text)
		}
	}
}

// A process that takes itself for a child, and is none: what it has is its own, and it does not wait for ever.
func TestNoParent(t *testing.T) {
	t.Parallel()
	pipe := func() (r, w *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		return r, w
	}
	file := func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	saying := func(names any) *os.File {
		r, w := pipe()
		if text, ok := names.(string); ok {
			_, _ = io.WriteString(w, text)
		} else if err := gob.NewEncoder(w).Encode(names); err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		return r
	}
	_, ready := pipe()
	silent, hold := pipe()
	t.Cleanup(func() { _ = hold.Close() })
	for _, x := range []struct {
		name  string
		files []*os.File
		want  string
	}{
		{"nothing", nil, "descriptor 3"},
		{"half", []*os.File{ready}, "descriptor 4"},
		{"no pipes", []*os.File{file(), file()}, "descriptor 3 is not a pipe"},
		{"no pipe", []*os.File{ready, file()}, "descriptor 4 is not a pipe"},
		{"silence", []*os.File{ready, silent}, "nothing within 5s"},
		{"the end", []*os.File{ready, saying("")}, "EOF"},
		{"garbage", []*os.File{ready, saying(strings.Repeat("\xff\x80garbage", 100))}, "no names"},
		{"no socket", []*os.File{ready, saying([][]string{{"listener", "tcp", "a"}}), file()}, "not a socket"},
		{"no descriptor", []*os.File{ready, saying([][]string{{"fd", "a", ""}, {"fd", "b", ""}}), file()},
			"descriptor 6"},
		{"no name", []*os.File{ready, saying([][]string{{}}), file()}, "no name"},
		{"another type", []*os.File{ready, saying(map[string]int{"a": 1})}, "no names"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(self(t))
			cmd.Env = append(os.Environ(), sentinel+"=yes")
			cmd.ExtraFiles = x.files
			if got := run(t, cmd); !got.Started || !strings.Contains(got.Err, x.want) || len(got.Names) != 0 {
				t.Errorf("%+v; want %q", got, x.want)
			}
		})
	}
}

// A signal ends a process that waits for a parent.
func TestNoParentIsTerminated(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd := exec.Command(self(t))
	cmd.Env = append(os.Environ(), sentinel+"=yes", modeEnv+"=tell")
	cmd.ExtraFiles = []*os.File{w, r}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	begun := time.Now()
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: terminated" || time.Since(begun) > namesWithin {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
}

// Subprocesses inherit that SIGPIPE is ignored, as by a shell's trap, and would not inherit that it is caught.
func TestSIGPIPEThatIsIgnoredStaysSo(t *testing.T) {
	signal.Ignore(unix.SIGPIPE)
	defer signal.Reset(unix.SIGPIPE)
	OutliveBrokenPipes()
	if !signal.Ignored(unix.SIGPIPE) {
		t.Error("SIGPIPE is caught")
	}
}
