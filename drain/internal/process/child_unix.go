//go:build unix

package process

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// readyByte is what a child writes when it is ready.
const readyByte = 42

// Command says what Start starts.
type Command struct {
	Path  string
	Args  []string // with argv[0]
	Env   []string // without the variable that says that there is a parent
	Dir   string
	Stdio [3]int // descriptors of this process

	Files *Files              // passed to every child; may be nil
	Also  map[string]*os.File // passed to this one alone, by name

	Held   func() bool // tells whether a process holds what is in Also; nil: none does
	Settle func()      // called when the child has exited: the last moment for Release; may be nil
}

// Child is a process that Start has started. Until Release it is a candidate. When it dies, its process group is
// killed, if it has one of its own. On Linux each process that has inherited what was passed to it alone is killed too,
// such as a daemon that it has started.
type Child struct {
	PID int

	proc   *os.Process
	names  *os.File // open until the child, or this process, has exited
	ready  chan struct{}
	exited chan struct{}
	err    error  // set before exited is closed, as is said
	said   string // see Said
	hears  *hearing

	alone  passed      // what no process but the child and its children has
	held   func() bool // see Command
	settle func()
	kills  string // see oomKills, before its start
	files  *Files

	mu       sync.Mutex // guards what follows
	group    bool       // it has a group of its own, which is to die with it
	released bool
	killed   bool // by Kill
	reaped   bool
	score    *score // until Release the kernel kills it first
}

// Start starts a process with a process group of its own. The error is one of the system calls', so
// that errors.Is finds syscall.ENOEXEC.
//
// In the foreground of a terminal the child stays in this process's group. The terminal would stop a group in the
// background that reads from it.
func Start(cmd Command) (*Child, error) {
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("can't start child: %w", err)
	}
	defer readyW.Close()
	namesR, namesW, err := os.Pipe()
	if err != nil {
		_ = readyR.Close()
		return nil, fmt.Errorf("can't start child: %w", err)
	}
	defer namesR.Close()
	group := !slices.ContainsFunc(cmd.Stdio[:], foreground)
	alone := passed{passedTo(readyW)}
	for _, f := range cmd.Also {
		alone = append(alone, passedTo(f))
	}
	kills := oomKills()
	hears := listen(cmd.Stdio[2])
	pid, rest, err := cmd.exec(number(readyW), number(namesR), namesW, hears.passed, group)
	hears.started()
	if err != nil {
		cmd.Files.childExits()
		_, _ = readyR.Close(), namesW.Close()
		return nil, fmt.Errorf("can't start child: %w", err)
	}
	proc, err := os.FindProcess(pid)
	if err != nil { // never on Unix
		panic(err)
	}
	c := &Child{PID: pid, proc: proc, names: namesW, ready: make(chan struct{}), kills: kills,
		exited: make(chan struct{}), hears: hears, group: group, alone: alone, held: cmd.Held, settle: cmd.Settle,
		files: cmd.Files, score: openScore(strconv.Itoa(pid))}
	c.score.raise() // also for a script that starts the program, and for the program before it does so itself
	if len(rest) > 0 {
		go func() { _, _ = namesW.Write(rest) }()
	}
	go c.awaitReady(readyR)
	go c.wait(readyR)
	return c, nil
}

// exec starts the process. What it is to know lies in the pipe by then: this process may be killed the moment after. It
// returns what of the names the pipe did not take.
func (cmd *Command) exec(ready, names int, namesW *os.File, more []Passed, group bool) (
	pid int, rest []byte, err error,
) {
	fds := []uintptr{uintptr(cmd.Stdio[0]), uintptr(cmd.Stdio[1]), uintptr(cmd.Stdio[2]), uintptr(ready),
		uintptr(names)}
	passed := [][]string{} // gob refuses nil
	pass := func(name Name, fd int) {
		passed = append(passed, []string{name.Kind, name.Network, name.Address})
		fds = append(fds, uintptr(fd))
	}
	for name, f := range cmd.Also {
		pass(Name{Kind: kindFile, Network: name}, number(f))
	}
	for _, p := range more {
		pass(p.Name, p.FD)
	}
	cmd.Files.each(pass, func() {
		var text bytes.Buffer
		if err = gob.NewEncoder(&text).Encode(passed); err != nil {
			return
		}
		rest = fill(namesW, text.Bytes())
		pid, _, err = syscall.StartProcess(cmd.Path, cmd.Args, &syscall.ProcAttr{
			Dir: cmd.Dir, Env: append(cmd.Env[:len(cmd.Env):len(cmd.Env)], sentinel+"=yes"), Files: fds,
			Sys: &syscall.SysProcAttr{Setpgid: group},
		})
	})
	return pid, rest, err
}

// fill writes what the pipe takes at once, and returns the rest.
func fill(pipe *os.File, text []byte) []byte {
	rc, err := pipe.SyscallConn()
	if err != nil {
		return text
	}
	_ = rc.Write(func(fd uintptr) bool {
		n, err := unix.Write(int(fd), text)
		if err == nil {
			text = text[n:]
		}
		return true // os.Pipe's ends don't block
	})
	return text
}

// Ready is closed when the child has said that it is ready.
func (c *Child) Ready() <-chan struct{} { return c.ready }

// Exited is closed when the child has exited and, if it was a candidate, its group is killed.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// Err says how the child has exited. It is to be called after Exited.
func (c *Child) Err() error { return c.err }

// Said tells what a candidate has last said, or where that is to be read. It is to be called after Exited.
func (c *Child) Said() string { return c.said }

// Release makes the child a process of its own: what comes from it is left alone from now on, also
// when the child exits. It reports whether it could: not when the child has exited before, and Settle returned.
func (c *Child) Release() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.score.putBack() // it has done so, if it knows of that
	c.released = c.released || !c.reaped
	return c.released
}

// Kill kills the child, and its group if it is a candidate.
func (c *Child) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reaped {
		return
	}
	c.killed = true
	if c.group && !c.released {
		_ = unix.Kill(-c.PID, unix.SIGKILL)
	}
	_ = c.proc.Kill()
}

// awaitReady waits for the one byte that the child writes.
func (c *Child) awaitReady(ready *os.File) {
	var b [1]byte
	if n, _ := ready.Read(b[:]); n > 0 && b[0] == readyByte {
		close(c.ready)
	}
}

func (c *Child) isReady() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

// wait reaps the child.
func (c *Child) wait(ready *os.File) {
	var state *os.ProcessState
	var err error
	waitable := awaitExit(c.PID)
	if !waitable {
		state, err = c.proc.Wait()
	}
	if c.settle != nil {
		c.settle()
	}
	c.mu.Lock()
	if c.group && !c.released { // until the child is reaped, no other group can have its number
		_ = unix.Kill(-c.PID, unix.SIGKILL)
	}
	if waitable {
		state, err = c.proc.Wait()
	}
	_ = c.score.putBack()
	c.reaped = true
	candidate, killed := !c.released, c.killed
	c.mu.Unlock()
	if candidate {
		c.killEscaped(ready)
		c.said = c.hears.said(c.PID)
	}

	if err == nil && !state.Success() {
		err = errors.New(state.String())
		if by := killedBy(state, c.kills); by != "" && !killed {
			err = fmt.Errorf("%w: %s; a swap takes the memory of two generations: raise the limit of the service "+
				"(MemoryMax=, limits.memory)", err, by)
		}
	}
	switch {
	case err != nil:
		c.err = fmt.Errorf("child pid=%d exited: %w", c.PID, err)
	case c.isReady():
		c.err = fmt.Errorf("child pid=%d exited with 0 before it served", c.PID)
	default:
		c.err = fmt.Errorf("child pid=%d exited with 0 before it was ready", c.PID)
	}
	c.files.childExits()
	close(c.exited)
	_, _ = ready.Close(), c.names.Close() // which ends awaitReady, and the writing of names
}

// killedBy says whether the kernel has killed a process for want of memory, or the program of a script that the process
// is; "": it has not. Kills is what oomKills was before.
func killedBy(state *os.ProcessState, kills string) string {
	const byShell = 128 + int(unix.SIGKILL) // how a shell tells of it
	ws, ok := state.Sys().(syscall.WaitStatus)
	if !ok || ws.ExitStatus() != byShell && !(ws.Signaled() && ws.Signal() == unix.SIGKILL) {
		return ""
	}
	switch oomKills() {
	case "":
		return "another process has killed it, or the kernel, where memory ran out"
	case kills:
		return ""
	}
	return "the kernel has killed it, since memory ran out"
}

// foreground tells whether a descriptor is this process's terminal, and its process group is in the foreground there.
func foreground(fd int) bool {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// killEscaped kills the processes that have left the child's group: they would keep the sockets, or even serve.
func (c *Child) killEscaped(ready *os.File) {
	for range 20 { // one that is killed may have started another
		if !writable(ready) && (c.held == nil || !c.held()) {
			return
		}
		if !c.alone.killHolders() {
			return
		}
	}
}

// writable tells whether some process has the other end of a pipe.
func writable(pipe *os.File) bool {
	poll := []unix.PollFd{{Fd: int32(number(pipe)), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && (n == 0 || poll[0].Revents&(unix.POLLHUP|unix.POLLNVAL) == 0)
}

// Group is the process group of a process, or 0.
func Group(pid int) int {
	group, err := unix.Getpgid(pid)
	if err != nil || pid <= 0 {
		return 0
	}
	return group
}

// Join moves this process to a process group, if that is still there and of the same session. A
// candidate has a group of its own; the main generation belongs where its predecessor was: a
// terminal, a shell or a supervisor signals that group.
func Join(group int) {
	if group > 0 && unix.Getpgrp() != group {
		_ = unix.Setpgid(0, group)
	}
}
