//go:build unix

package drain_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/drain"
)

// die is how a program ends, or does something wrong.
func (g *gen) die(ways map[string]func(*gen, string)) {
	if f := ways[g.Fault]; f != nil {
		f(g, g.Last)
	}
}

var beforeNew = map[string]func(g *gen, last string){
	"log.Fatal": func(_ *gen, last string) { log.Fatal(last) },
	"exit 3":    func(_ *gen, last string) { _, _ = fmt.Fprintln(os.Stderr, last); os.Exit(3) },
	"exit 0":    func(_ *gen, last string) { println(last); os.Exit(0) },
	"killed": func(_ *gen, last string) {
		println("\x1b[31m" + last + "\x1b[0m")
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	},
	"panic": func(_ *gen, last string) { panic(last) },
	"panic, with stacks": func(_ *gen, last string) {
		debug.SetTraceback("all")
		for range 500 {
			go func() { select {} }()
		}
		println("panic is near")
		go func() { panic(errors.New(last)) }()
		select {}
	},
}

var beforeRun = map[string]func(g *gen, last string){
	"net.Listen": func(_ *gen, last string) {
		ln, err := net.Listen("tcp", last)
		if err != nil {
			log.Fatal("metrics: ", err)
		}
		metrics = ln
	},
	"Fail": func(g *gen, last string) { log.Fatal(g.svc.Fail(errors.New(last))) },
	"Fail at length": func(g *gen, last string) {
		err := fmt.Errorf("%s\nand more\n%s", last, strings.Repeat("x", 40_000))
		if got := g.svc.Fail(err); got != err || !errors.Is(g.svc.Run(context.Background()), err) {
			err = errors.New("another")
		}
		log.Fatal(err)
	},
	// What it starts has its standard error, and keeps that.
	"subprocess": func(g *gen, last string) {
		cmd := exec.Command("sh", "-c", "read x <"+last+"; echo the end of $x >&2")
		cmd.Stderr = os.Stderr
		println("starts", cmd.Start() == nil)
	},
}

// metrics is a port of the program's own.
var metrics io.Closer

// piped gives the service a pipe, and not a file, as its standard error. It goes on to the file.
func piped(s *service, cmd *exec.Cmd) {
	r, w := s.pipe()
	s.logsBy(cmd, r, w)
}

// journaled gives it a socket, as journald does.
func journaled(s *service, cmd *exec.Cmd) {
	pair := have(syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0))(s)
	r, w := os.NewFile(uintptr(pair[0]), "r"), os.NewFile(uintptr(pair[1]), "w")
	s.logsBy(cmd, r, w)
}

// logsBy gives the service w as its standard error, and copies to the log's file what comes out at r.
func (s *service) logsBy(cmd *exec.Cmd, r, w *os.File) {
	to := have(os.OpenFile(s.logFile(), os.O_WRONLY|os.O_APPEND, 0))(s)
	go func() { _, _ = io.Copy(to, r) }()
	s.Cleanup(func() { _ = w.Close() })
	cmd.Stderr = w
}

// The error of a swap has why the program could not start, whatever it does and whatever standard error is; and what it
// writes there arrives there.
func TestSwapErrorHasWhyTheProgramFailed(t *testing.T) {
	type row struct {
		fault, end string
		journal    string // of what the journal has, "" if the same
	}
	const last = "no license for  this host"
	rows := map[string]row{}
	for _, r := range []row{
		{"log.Fatal", "exit status 1; it said last: ", "exit status 1; for what it said see standard error"},
		{"exit 3", "exit status 3; it said last: ", "exit status 3; for what it said see standard error"},
		{"exit 0", "exited with 0 before it was ready; it said last: ",
			"exited with 0 before it was ready; for what it said see "},
		{"killed", "; it said last: ", "signal: killed"},
		{"panic", "exit status 2; it said last: panic: ", ""},
		{"panic, with stacks", "exit status 2; it said last: panic: ", ""},
		{"Fail", last + " (child pid=", ""},
		{"Fail at length", "and more", ""},
	} {
		rows[r.fault] = r
	}
	each(t, rows, func(t *testing.T, r row) {
		for kind, tweak := range map[string]func(*service, *exec.Cmd){
			"file": withControl, "pipe": piped, "journal": journaled,
		} {
			t.Run(kind, func(t *testing.T) {
				s := start(t, plan{Last: last}, withControl, tweak)
				s.nextHas(r.fault)
				mark, from := s.mark(), s.main()
				s.signal(from.PID, hup)
				got := s.eventSince(mark, from.Gen, "swap failed").Err
				want := []string{last, r.end}
				if kind == "journal" && r.journal != "" {
					want = []string{r.journal}
				}
				s.wantIn(got, want...)
				if n := len(got); n > 1500 || strings.ContainsAny(got, "\x1b") {
					t.Errorf("%d bytes: %q", n, got)
				}
				s.wantIn(s.mustControl("status").LastSwap.Err, got)
				s.awaitLine(last)
				s.nextHas("")
				s.swap()
				s.mustControl("stop")
			})
		}
	})
}

// A port that the old generation holds by net.Listen is named, with the cure.
func TestSwapErrorNamesAPortOfTheProgramsOwn(t *testing.T) {
	each(t, map[string]func(*service, *exec.Cmd){"file": withControl, "pipe": piped},
		func(t *testing.T, tweak func(*service, *exec.Cmd)) {
			s := start(t, plan{Fault: "net.Listen", Last: freePort(t)}, withControl, tweak)
			s.failedSwap("metrics: listen tcp "+s.plan.Last+": bind: address already in use",
				"held by this process itself", "by Listen of the service")
			s.plan.Last = freePort(t)
			s.replan()
			s.swap()
			s.mustControl("stop")
		})
}

// What a candidate has started keeps its standard error over all generations, and what the candidate puts in the place
// of it stays.
func TestStandardErrorOfACandidate(t *testing.T) {
	s := start(t, plan{}, withControl)
	path, open := s.gate("gate")
	s.plan.Last = path
	s.nextHas("subprocess")
	s.swap()
	s.awaitLine("starts true")
	from := s.main()
	if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", from.PID)); err == nil && to != s.logFile() {
		t.Errorf("standard error of generation 2 is %s", to)
	}
	s.wantExit(s.pgid, 0)
	open()
	s.awaitLine("the end of")
	if st := s.mustControl("status"); st.Phase != drain.Ready {
		t.Errorf("%+v", st)
	}
	s.nextHas("")
	s.swap()
	s.mustControl("stop")
}
