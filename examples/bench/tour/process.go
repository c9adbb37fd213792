//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// service is one service under the tour's hands: its first process, and those it turned into. It is driven only from
// outside: signals, the PID file, HTTP, its log, its exit.
type service struct {
	name    string
	addr    string
	target  string // the file that runs, and that a swap replaces
	pidFile string
	log     *logbook

	group int // the process group of the first process and thus of all

	mu    sync.Mutex
	procs map[int]*proc
}

// proc is one process of a service.
type proc struct {
	pid  int
	gone chan struct{} // closed when the process has ended; the fields below are set by then
	at   time.Time
	code int  // exit code, -signal if it was killed
	seen bool // the code could be seen
}

// launch starts a service. Its processes form a group of their own: a Ctrl-C at the terminal is the tour's alone.
func launch(name, target string, args []string, verbose bool) (*service, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s := &service{
		name:    name,
		addr:    addr,
		target:  target,
		pidFile: target + ".pid",
		procs:   map[int]*proc{},
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.log = newLogbook(name, r, verbose)
	cmd := exec.Command(s.target, append([]string{"-addr", s.addr, "-pidfile", s.pidFile}, args...)...)
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		<-s.log.ended
		return nil, err
	}
	s.group = cmd.Process.Pid
	s.watch(cmd.Process.Pid)
	return s, nil
}

// freeAddr finds a loopback address that nobody listens on.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// pid reads the PID file: 0 while there is none.
func (s *service) pid() int {
	b, err := os.ReadFile(s.pidFile)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// watch notes when a process ends, and how. It may be called again for the same one.
func (s *service) watch(pid int) *proc {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.procs[pid]; p != nil {
		return p
	}
	p := &proc{pid: pid, gone: make(chan struct{})}
	s.procs[pid] = p
	exit := watchExit(pid)
	go func() {
		p.code, p.seen = exit()
		p.at = time.Now()
		close(p.gone)
	}()
	return p
}

func (p *proc) isGone() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// exit says how the process ended.
func (p *proc) exit() string {
	switch {
	case !p.seen:
		return "seen by its parent only"
	case p.code < 0:
		return syscall.Signal(-p.code).String()
	}
	return strconv.Itoa(p.code)
}

// living counts the processes that were ever main and have not ended.
func (s *service) living() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, p := range s.procs {
		if !p.isGone() {
			n++
		}
	}
	return n
}

// signal sends a signal to a process that this service has shown as its main one.
func (s *service) signal(pid int, sig syscall.Signal) error {
	s.mu.Lock()
	p := s.procs[pid]
	s.mu.Unlock()
	if p == nil || p.isGone() {
		return fmt.Errorf("%s: process %d is gone", s.name, pid)
	}
	return syscall.Kill(pid, sig)
}

// destroy ends what is left of the service, whatever state it is in, and waits for it. After an orderly stop it finds
// nothing to do: the log ends when the last process that could write to it has.
func (s *service) destroy() {
	select {
	case <-s.log.ended:
		return
	default:
	}
	syscall.Kill(-s.group, syscall.SIGKILL)
	select {
	case <-s.log.ended:
	case <-time.After(5 * time.Second):
		fmt.Fprintf(os.Stderr, "%s: a process of group %d did not end\n", s.name, s.group)
	}
}

// until waits for a fact. It gives up after the limit, when the context ends, or when the fact has become impossible.
func until(ctx context.Context, limit time.Duration, what string, fact func() (bool, error)) error {
	const poll = time.Millisecond
	begun := time.Now()
	for {
		done, err := fact()
		switch {
		case err != nil:
			return fmt.Errorf("waiting until %s: %w", what, err)
		case done:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Since(begun) > limit:
			return fmt.Errorf("waited %v, but never: %s", limit, what)
		}
		time.Sleep(poll)
	}
}
