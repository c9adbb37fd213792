//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain"
)

// node is a running service, and what it has logged.
type node struct {
	name, addr, control string
	cmd                 *exec.Cmd
	gone                chan struct{} // closed when the process has ended and its log is read

	mu      sync.Mutex // guards what follows
	events  map[string]time.Time
	changed chan struct{} // closed, and made anew, at each event
	last    string        // line of the log
}

// startNode returns when the service is ready.
func startNode(ctx context.Context, dir, name, app, addr string, verbose bool, flags ...string) (*node, error) {
	n := &node{
		name: name, addr: addr, control: filepath.Join(dir, name),
		gone: make(chan struct{}), events: map[string]time.Time{}, changed: make(chan struct{}),
	}
	n.cmd = exec.Command(app, append([]string{"-addr", addr, "-control", n.control}, flags...)...)
	if err := begin(n.cmd, func(line string) {
		if verbose {
			fmt.Println(name, line)
		}
		n.heard(line)
	}, n.gone); err != nil {
		return nil, err
	}
	if _, err := n.event(ctx, "kind=ready"); err != nil {
		n.end()
		return nil, err
	}
	return n, nil
}

// begin starts a program whose lines are handed to heard, and closes gone after the last. It is in a process
// group of its own, since a Ctrl-C is ours alone, and dies with us.
func begin(cmd *exec.Cmd, heard func(line string), gone chan struct{}) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return err
	}
	go func() {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			heard(lines.Text())
		}
		_, _ = io.Copy(io.Discard, r) // after a line that is too long
		_ = r.Close()
		_ = cmd.Wait()
		close(gone)
	}()
	return nil
}

var logLine = regexp.MustCompile(`^time=(\S+) level=.* (kind=\S+)`)

// heard notes when each kind of event came first by the service's own clock. That cuts it at the
// millisecond, so what is noted is never later than what happened.
func (n *node) heard(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = line
	m := logLine.FindStringSubmatch(line)
	if m == nil {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, m[1])
	if err != nil {
		return
	}
	if _, known := n.events[m[2]]; !known {
		n.events[m[2]] = at
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// event waits for the first of the events to be logged, and returns when it was.
func (n *node) event(ctx context.Context, names ...string) (time.Time, error) {
	for {
		n.mu.Lock()
		changed, last := n.changed, n.last
		for _, name := range names {
			if at, ok := n.events[name]; ok {
				n.mu.Unlock()
				return at, nil
			}
		}
		n.mu.Unlock()
		select {
		case <-changed:
		case <-n.gone:
			// What it logged at its end counts.
			n.mu.Lock()
			for _, name := range names {
				if at, ok := n.events[name]; ok {
					n.mu.Unlock()
					return at, nil
				}
			}
			n.mu.Unlock()
			return time.Time{}, fmt.Errorf("the service has ended (%v) without %q: %s", n.cmd.ProcessState, names, last)
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%w, waiting for %q of the service", context.Cause(ctx), names)
		}
	}
}

// probed waits until the service knows the balancer's interval, and returns that just after a probe.
func (n *node) probed(ctx context.Context) (time.Duration, error) {
	for {
		answer, err := drain.Control(ctx, n.control, "status")
		if err != nil {
			return 0, err
		}
		var st drain.Status
		if err := json.Unmarshal(answer, &st); err != nil {
			return 0, err
		}
		if len(st.Probers) > 1 {
			return 0, fmt.Errorf("there is more than one prober: %+v", st.Probers)
		}
		pause := 10 * time.Millisecond
		if len(st.Probers) == 1 && st.Probers[0].Interval > 0 {
			since := time.Since(st.Probers[0].LastSeen)
			if since < 40*time.Millisecond {
				return st.Probers[0].Interval, nil
			}
			pause = max(pause, st.Probers[0].Interval-since-20*time.Millisecond)
		}
		if err := rest(ctx, pause); err != nil {
			return 0, err
		}
	}
}

func (n *node) signal(sig syscall.Signal) error { return n.cmd.Process.Signal(sig) }

// left waits for the end of the process, and wants exit code 0.
func (n *node) left(ctx context.Context) error {
	select {
	case <-n.gone:
	case <-ctx.Done():
		return fmt.Errorf("%w, waiting for the end of the service", context.Cause(ctx))
	}
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the service ended with %v: %s", n.cmd.ProcessState, n.last)
	}
	return nil
}

// end ends what still runs.
func (n *node) end() {
	_ = n.cmd.Process.Kill()
	<-n.gone
}

var errLong = errors.New("it has taken too long")

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
