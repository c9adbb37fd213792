package drain

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

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
// WATCHDOG=1. Only the main generation speaks. What a manager with NotifyAccess=main hears from
// another it drops, and what one with NotifyAccess=all hears from an old one, it believes: a late
// STOPPING=1 would end the service.
//
// All fields are the loop's.
type manager struct {
	*sdnotify.Queue
	main      bool // the manager follows this generation
	orphan    bool // the old one has perhaps not said so
	ready     bool
	reloading bool
	stopping  bool
	stopBy    time.Time // when a stop is over, by our own bounds
	extended  time.Time // when the manager was last asked for more time
	failure   string    // why the last swap failed, until the next
	told      string    // as STATUS
	timer     *time.Timer
	watchdog  time.Duration // in which WATCHDOG=1 is awaited; 0 if it is not, or is being said
}

const (
	reportBusy = time.Second      // between two reports while something goes on
	reportIdle = 10 * time.Second // and otherwise: the number of open connections changes without an event
	extension  = 10 * time.Second // for which the manager is asked at a time: a loop that hangs is soon found out
)

// newManager is called before the program can start processes that would misread what is meant for this one.
func (s *Service) newManager() *manager {
	if sdnotify.Socket() == "" {
		return nil
	}
	m := &manager{Queue: sdnotify.NewQueue(s.cfg.Logger), main: !s.os.inherits}
	m.watchdog = sdnotify.WatchdogTime(s.cfg.Logger)
	return m
}

// report tells the manager what has changed since the last time.
func (s *Service) report() {
	m := s.manager
	if m == nil || !m.main {
		return
	}
	var lines []string
	serves := s.phase == Ready || s.phase == Pulled
	switch {
	case m.stopping:
	case s.stopping || s.phase == Draining || s.phase == Stopped:
		m.stopping = true
		m.stopBy = time.Now().Add(s.cfg.PullMax + s.cfg.DrainTimeout + killGrace)
		lines = append(lines, daemon.SdNotifyStopping)
	case s.phase == Swapping && !m.reloading:
		m.reloading, m.failure = true, ""
		lines = append(lines, daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
	case serves && m.orphan:
		m.orphan = false
		lines = append(lines, fmt.Sprintf("MAINPID=%d", s.os.pid), daemon.SdNotifyReady)
	case serves && (m.reloading || !m.ready):
		m.reloading, m.ready = false, true
		lines = append(lines, daemon.SdNotifyReady)
	}
	if serves && m.watchdog > 0 {
		go s.guard(m.watchdog)
		m.watchdog = 0
	}
	urgent, behind := len(lines) > 0, m.Behind()
	if status := s.statusLine(); status != m.told && (urgent || !behind) {
		m.told = status
		lines = append(lines, "STATUS="+status)
	}
	patience := s.patience()
	if patience > 0 && (urgent || !behind && time.Since(m.extended) > reportBusy/2) {
		m.extended = time.Now()
		lines = append(lines, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", min(patience, extension).Microseconds()))
	}
	if len(lines) > 0 {
		m.Post(strings.Join(lines, "\n"))
	}
	again := reportIdle
	if patience > 0 || behind || len(s.older) > 0 || s.health.Pulled() {
		again = reportBusy
	}
	if m.timer == nil {
		m.timer = time.AfterFunc(again, func() { s.call(s.report) })
	} else {
		m.timer.Reset(again)
	}
}

// patience is how long the service's own bounds still let it be busy; 0 or less when it is not, or they are over.
func (s *Service) patience() time.Duration {
	var until time.Time
	switch {
	case s.phase == Stopped:
		return 0
	case s.phase == Starting: // Config.Ready may take as long as in a swap
		until = s.since.Add(s.cfg.SwapTimeout)
	case s.hooks.gone:
		until = s.hooks.goneBy.Add(lastWords)
	case s.phase == Draining:
		until = s.since.Add(s.cfg.DrainTimeout + lastWords)
	case s.stopping:
		until = s.manager.stopBy
	case s.phase == Swapping:
		until, _ = s.swap.ctx.Deadline()
		until = until.Add(killGrace)
	default:
		return 0
	}
	return time.Until(until)
}

// swapFailed keeps the reason for the next report.
func (m *manager) swapFailed(err error) {
	if m != nil {
		m.failure = err.Error()
	}
}

// becomeMain makes the reports this generation's. Where the old one was not there to say so, the next one does, for a
// manager that listens to all of its processes.
func (m *manager) becomeMain(named bool) {
	if m != nil {
		m.main, m.ready, m.orphan = true, true, !named
	}
}

// reclaim tells the manager that this generation is the main one still, after it was told of another. One with
// NotifyAccess=main drops that: it follows a process that is dead, and its watchdog ends the service.
func (s *Service) reclaim() {
	if m := s.manager; m != nil && !m.main {
		m.main, m.ready, m.reloading = true, true, false
		m.Post(fmt.Sprintf("MAINPID=%d\n%s", s.os.pid, daemon.SdNotifyReady))
	}
}

// introduce tells the parent the pid of this process, which tableflip keeps to itself.
func (s *Service) introduce() {
	if s.manager != nil {
		s.parent.send(message{Kind: kindProven, PID: s.os.pid})
	}
}

// announce tells the manager that the child is the main process, and returns when it has
// understood, which is before the child is told. Otherwise a message of the child's might come
// first, and be dropped, or this process be gone before the manager has looked at who it was. It
// runs outside of the loop, which serves on.
func (s *Service) announce(sw *swap) {
	if s.manager == nil {
		return
	}
	if err := s.tellMain(sw); err != nil {
		s.cfg.Logger.Warn("the service manager does not answer: it may not know the new main process", "err", err)
	}
}

func (s *Service) tellMain(sw *swap) error {
	over := time.NewTimer(sdnotify.Wait)
	defer over.Stop()
	var pid int
	select {
	case pid = <-sw.pid:
	case <-sw.gone:
		select {
		case pid = <-sw.pid:
		default:
			return nil // there is nobody to follow
		}
	case <-over.C:
		return fmt.Errorf("drain: the new generation does not say its pid within %v", sdnotify.Wait)
	}
	var (
		understood <-chan struct{}
		err        error
	)
	if !s.call(func() {
		m := s.manager
		m.main = false
		m.timer.Stop()
		m.Post(fmt.Sprintf("MAINPID=%d\n%s\nSTATUS=generation %d takes over", pid,
			daemon.SdNotifyReady, sw.generation))
		understood, err = m.Barrier()
	}) || err != nil {
		return err
	}
	select {
	case <-understood:
		return nil
	case <-sw.gone:
		return nil
	case <-over.C:
		return fmt.Errorf("drain: no answer to BARRIER=1 within %v", sdnotify.Wait)
	}
}

// close ends the reports.
func (m *manager) close() {
	if m == nil {
		return
	}
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
