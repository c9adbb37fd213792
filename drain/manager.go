package drain

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/sdnotify"
)

// manager is what the service manager has been told through NOTIFY_SOCKET; it is nil, and nothing
// is done, where that is not set. The messages are those of sd_notify(3):
//
//	generation 1 is ready    READY=1
//	a swap begins            RELOADING=1 MONOTONIC_USEC=…
//	it fails                 READY=1 STATUS=reload failed: …
//	it succeeds              MAINPID=… READY=1, then BARRIER=1, by the old generation: its last words
//	a stop begins            STOPPING=1
//
// with STATUS and EXTEND_TIMEOUT_USEC in these, and by themselves while something goes on, and
// WATCHDOG=1. Only the main generation speaks. With NotifyAccess=main, systemd drops the messages of
// other processes. With NotifyAccess=all, it believes them, even those of an old generation: a late
// STOPPING=1 would end the service.
//
// The runner's loop reports, and swap.announce names the next generation, in a goroutine of its own: mu guards both.
type manager struct {
	mu sync.Mutex // guards what follows
	*sdnotify.Queue
	in        inbox
	pid       int
	main      bool // the manager follows this generation
	unnamed   bool // the old generation may not have sent MAINPID
	orphan    bool // this generation must send MAINPID itself
	ready     bool
	reloading bool
	stopping  bool
	stopBy    time.Time // when a stop is over, by our own bounds
	extended  time.Time // when the manager was last asked for more time
	failure   string    // why the last swap failed, until the next
	told      string    // as STATUS
	timer     *time.Timer
	watchdog  time.Duration // the timeout of the watchdog; 0 if it is off, or once guard runs
}

const (
	reportIdle = 10 * time.Second // between two reports: the number of open connections changes without an event
	extension  = 10 * time.Second // for which the manager is asked at a time: a loop that hangs is soon found out
)

// statusDue: it is time for a report.
type statusDue struct{}

// newManager is called before the program can start processes that would misread what is meant for this one. It returns
// nil where there is no manager.
func newManager(in inbox, log *slog.Logger, first bool) *manager {
	if sdnotify.Socket() == "" {
		return nil
	}
	m := &manager{Queue: sdnotify.NewQueue(log), in: in, pid: os.Getpid(), main: first}
	m.watchdog = sdnotify.WatchdogTime(log)
	return m
}

// part makes the reports this generation's. If the old generation has died before it could send MAINPID, this one
// sends it, for a manager with NotifyAccess=all. The first generation sends READY=1 by report.
func (m *manager) part() part {
	if m == nil || m.main {
		return part{}
	}
	named := false
	return part{
		inherit: func(message) { named = true },
		acquire: func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.main, m.ready, m.unnamed, m.orphan = true, true, !named, !named
		},
	}
}

// managerView is what a report goes by.
type managerView struct {
	machine.State
	pullMax, swapTimeout time.Duration
	swapBy               time.Time     // when the swap under way is given up
	status               func() Status // called in the main generation alone
}

// report tells the manager what has changed since the last time. It returns the timeout of the watchdog once, when the
// generation begins to serve; otherwise 0.
func (m *manager) report(v managerView) (watchdog time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	takenBack := v.Phase == machine.Swapping && v.Child.Over() // SwapFailed is about to come
	if !m.main || takenBack {
		return 0
	}
	st := v.status()
	st.Phase = Phase(v.Phase)
	var lines []string
	serves := v.Phase == machine.Ready || v.Phase == machine.Pulled
	switch {
	case m.stopping:
	case v.Leaves():
		m.stopping = true
		m.stopBy = time.Now().Add(v.pullMax + v.DrainTimeout + killGrace)
		lines = append(lines, daemon.SdNotifyStopping)
	case v.Phase == machine.Swapping && !m.reloading:
		m.reloading, m.failure = true, ""
		lines = append(lines, daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
	case serves && m.orphan:
		m.orphan = false
		lines = append(lines, fmt.Sprintf("MAINPID=%d", m.pid), daemon.SdNotifyReady)
	case serves && (m.reloading || !m.ready):
		m.reloading, m.ready = false, true
		lines = append(lines, daemon.SdNotifyReady)
	}
	if serves {
		watchdog, m.watchdog = m.watchdog, 0
	}
	urgent, behind := len(lines) > 0, m.Behind()
	if status := m.statusLine(v, st); status != m.told && (urgent || !behind) {
		m.told = status
		lines = append(lines, "STATUS="+status)
	}
	remaining := m.remaining(v)
	if remaining > 0 && (urgent || !behind && time.Since(m.extended) > reportBusy/2) {
		m.extended = time.Now()
		lines = append(lines, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", min(remaining, extension).Microseconds()))
	}
	if len(lines) > 0 {
		m.Post(strings.Join(lines, "\n"))
	}
	again := reportIdle
	if remaining > 0 || behind || len(st.Older) > 0 || st.Pulled {
		again = reportBusy
	}
	if m.timer == nil {
		m.timer = time.AfterFunc(again, func() { m.in.post(statusDue{}) })
	} else {
		m.timer.Reset(again)
	}
	return watchdog
}

// remaining is how long the service's own bounds still let it be busy; 0 or less when it is not, or they are over.
func (m *manager) remaining(v managerView) time.Duration {
	var until time.Time
	switch {
	case v.Phase == machine.Stopped:
		return 0
	case v.Phase == machine.Starting: // Config.Ready may take as long as in a swap
		until = v.Since.Add(v.swapTimeout)
	case v.Gone:
		until = v.GoneBy.Add(lastWords)
	case v.Phase == machine.Draining:
		until = v.Since.Add(v.DrainTimeout + lastWords)
	case v.Stopping:
		until = m.stopBy
	case v.Phase == machine.Swapping:
		until = v.swapBy.Add(killGrace)
	default:
		return 0
	}
	return time.Until(until)
}

// statusLine is what systemctl status shows.
func (m *manager) statusLine(v managerView, st Status) string {
	line := st.line(v.Stopping)
	if v.Phase == machine.Stopped && v.Result != nil {
		line += ": " + v.Result.Error()
	}
	if m.failure != "" && !v.Stopping {
		line = "reload failed: " + m.failure + "; " + line
	}
	return oneLine(line)
}

// extendAgain makes the next report ask for more time.
func (m *manager) extendAgain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.extended = time.Time{}
}

// swapFailed keeps the reason for the next report.
func (m *manager) swapFailed(err error) {
	if m != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.failure = err.Error()
	}
}

// oldGone sends MAINPID again: a keeper follows the old generation until it exits, even if it is halted.
func (m *manager) oldGone() {
	if m != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.orphan = m.unnamed
	}
}

// reclaim tells the manager that this generation is still the main one, after the manager was told of another. With
// NotifyAccess=main, systemd drops that message: it follows a dead process, and its watchdog ends the service.
func (m *manager) reclaim() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.main {
		m.main, m.ready, m.reloading = true, true, false
		m.Post(fmt.Sprintf("MAINPID=%d\n%s", m.pid, daemon.SdNotifyReady))
	}
}

// alive sends WATCHDOG=1, unless err is set. It tells whether this generation must send it again.
func (m *manager) alive(err error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.main && err == nil && !m.Behind() {
		m.Post(daemon.SdNotifyWatchdog)
	}
	return m.main
}

// announce tells the manager that the child is the main process. It returns when the manager has read that, and the
// child is promoted after that. Otherwise the child's first message might come too early and be dropped. Or this
// process might exit before the manager has looked up the sender. The generation serves on meanwhile.
func (m *manager) announce(generation int, pid <-chan int, gone <-chan struct{}) error {
	if m == nil {
		return nil
	}
	over := time.NewTimer(sdnotify.Wait)
	defer over.Stop()
	var next int
	select {
	case next = <-pid:
	case <-gone:
		select {
		case next = <-pid:
		default:
			return nil // no process is left that the manager could follow
		}
	case <-over.C:
		return fmt.Errorf("drain: the new generation does not say its pid within %v", sdnotify.Wait)
	}
	understood, err := m.name(next, generation)
	if err != nil {
		return err
	}
	select {
	case <-understood:
		return nil
	case <-gone:
		return nil
	case <-over.C:
		return fmt.Errorf("drain: no answer to BARRIER=1 within %v", sdnotify.Wait)
	}
}

// name names the next main process.
func (m *manager) name(pid, generation int) (understood <-chan struct{}, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.main = false
	if m.timer != nil {
		m.timer.Stop()
	}
	m.Post(fmt.Sprintf("MAINPID=%d\n%s\nSTATUS=generation %d takes over", pid, daemon.SdNotifyReady, generation))
	return m.Barrier()
}

// close ends the reports.
func (m *manager) close() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil {
		m.timer.Stop()
	}
	m.Queue.Close()
}

// flush waits until the last words are sent, or for the end of ctx.
func (m *manager) flush(ctx context.Context) {
	if m == nil {
		return
	}
	select {
	case <-m.Sent():
	case <-ctx.Done():
	}
}
