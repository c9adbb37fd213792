//go:build unix

package drain_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// mark appends a line to a file that all generations write to.
func (g *gen) mark(file, line string) {
	f, err := os.OpenFile(filepath.Join(g.Jobs, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(line + "\n")
		_ = f.Close()
	}
	if err != nil {
		g.note("job not marked: %v", err)
	}
}

// beginJobs empties the queue that job fills.
func (g *gen) beginJobs() error {
	if g.Jobs == "" {
		return nil
	}
	g.jobs = make(chan string, 1000)
	return g.svc.Go("queue", func(ctx context.Context) {
		for {
			select {
			case id := <-g.jobs:
				g.mark("queued", id)
				continue
			default:
			}
			select {
			case id := <-g.jobs:
				g.mark("queued", id)
			case <-ctx.Done():
				if len(g.jobs) == 0 {
					g.note("queue ended")
					return
				}
			}
		}
	})
}

// job takes some time and then accepts two pieces of work: for the queue, and for a function that hands on a
// second one.
func (g *gen) job(w http.ResponseWriter, r *http.Request) {
	id := r.FormValue("id")
	if gate := r.FormValue("gate"); gate != "" {
		g.note("job begun")
		waitGate(gate)
	} else if r.FormValue("endless") != "" {
		leave := drain.Context(r.Context())
		g.note("job begun")
		<-leave.Done()
	} else {
		time.Sleep(rand.N(5 * time.Millisecond))
	}
	err := g.svc.Go("mail", func(context.Context) {
		time.Sleep(rand.N(5 * time.Millisecond))
		if err := g.svc.Go("second mail", func(context.Context) { g.mark("second", id) }); err != nil {
			g.note("second mail: %v", err)
		}
		g.mark("mailed", id)
	})
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	g.jobs <- id
	_, _ = io.WriteString(w, "accepted")
}

// wantJobs wants each accepted job done, once, in each way.
func (s *service) wantJobs(accepted map[string]bool) {
	s.Helper()
	for _, file := range []string{"queued", "mailed", "second"} {
		text, err := os.ReadFile(filepath.Join(s.plan.Jobs, file))
		if err != nil {
			s.Error(err)
		}
		done := map[string]int{}
		for line := range strings.Lines(string(text)) {
			done[strings.TrimSpace(line)]++
		}
		missing := 0
		for id := range accepted {
			switch done[id] {
			case 0:
				missing++
			case 1:
			default:
				s.Errorf("%s: job %s is done %d times", file, id, done[id])
			}
		}
		if missing > 0 {
			s.Errorf("%s: %d of %d accepted jobs are not done", file, missing, len(accepted))
		}
	}
}

func TestAcceptedJobsAreDoneOnceOverTenSwapsAndAStop(t *testing.T) {
	s := start(t, plan{Jobs: t.TempDir(), MaxGenerations: 16})
	var mu sync.Mutex
	accepted := map[string]bool{}
	var sent atomic.Int64
	var stopping atomic.Bool
	var clients sync.WaitGroup
	for range 12 {
		clients.Go(func() {
			for {
				c, err := dial(s)
				if err != nil {
					if !stopping.Load() {
						t.Error(err)
					}
					return
				}
				for last := false; !last; {
					id := fmt.Sprint(sent.Add(1))
					a, err := c.ask("POST", "/job?id="+id, "")
					switch {
					case err == nil && a.body == "accepted":
						mu.Lock()
						accepted[id] = true
						mu.Unlock()
					case err == nil || !stopping.Load():
						t.Errorf("job %s: %+v, %v", id, a, err)
						last = true
					default:
						last = true // the connection was at rest and is closed
					}
					last = last || a.close
				}
				_ = c.Close()
			}
		})
	}
	for range 10 {
		from := sent.Load()
		s.eventually("fifty jobs", func() bool { return sent.Load() >= from+50 || t.Failed() })
		s.swap()
	}
	stopping.Store(true)
	s.stop()
	clients.Wait()
	s.wantJobs(accepted)
	s.wantNothingLost()
	t.Logf("%d jobs", len(accepted))
}

// A handler that is answered long after the drain has begun has its work done, in a swap, a stop, and on a
// connection of each kind; whatever the work is that a handler waits for.
func TestHandlersThatDrainHandInWork(t *testing.T) {
	type row struct {
		sig    syscall.Signal
		secure bool
	}
	eachOf(t, func(t *testing.T, c row) {
		p := plan{Jobs: t.TempDir()}
		if c.secure {
			p = tlsPlan(t, p)
		}
		s := start(t, p)
		accepted := map[string]bool{}
		var clients []*client
		var opens []func()
		for i := range 5 {
			mark := s.mark()
			nc := s.connect()
			id := fmt.Sprint(i)
			gate, open := s.gate(id) // each waits for its handler, however busy the machine is
			opens = append(opens, open)
			must(t, nc.send("POST", "/job?id="+id+"&gate="+gate, ""))
			s.noteSince(mark, s.pgid, "job begun")
			accepted[id] = true
			clients = append(clients, nc)
		}
		s.signal(s.pgid, c.sig)
		s.await(0, "the drain", func(r record) bool { return r.PID == s.pgid && r.Phase == "draining" })
		for _, open := range opens {
			open()
		}
		for _, nc := range clients {
			if a, err := nc.receive(); err != nil || a.body != "accepted" {
				t.Errorf("%+v, %v", a, err)
			}
		}
		s.event(1, "stopped")
		s.wantExit(s.pgid, 0)
		if c.sig == hup {
			s.stop()
		}
		s.wantJobs(accepted)
		s.wantOrder(noted(1, "queue ended"), told(1, "stopped"))
	}, row{hup, false}, row{hup, true}, row{term, false}, row{term, true})
}

func TestBackgroundWorkIsWaitedFor(t *testing.T) {
	s, open := startAt(t, "slow work", plan{Worker: true})
	s.noteSince(0, 0, "work begun")
	s.swap()
	s.noteSince(0, s.pgid, "work told to end")
	mark := s.mark()
	s.get("/whoami")
	s.awaitOlder(1)
	s.wantNone(mark, "stopped")
	open()
	s.event(1, "stopped")
	s.wantExit(s.pgid, 0)
	s.wantOrder(told(1, "replaced"), noted(1, "work told to end"), noted(1, "work ended"), told(1, "stopped"))
	s.wantOrder(told(2, "probation"), noted(2, "work begun"))
	s.stop()
	s.wantOrder(told(2, "draining"), noted(2, "work told to end"), noted(2, "work ended"), told(2, "stopped"))
}

// A generation that never takes over runs no work and calls no hook.
func TestBackgroundWorkDoesNotRunInProbation(t *testing.T) {
	s := start(t, plan{Worker: true})
	s.failSwap("check fails")
	s.wantGone(0)
	s.stop()
	s.wantGone(1)
	for _, r := range s.since(0) {
		if r.PID != s.pgid && strings.HasPrefix(r.Note, "work") {
			t.Errorf("a generation that never took over says %q", r.Note)
		}
	}
	s.wantOrder(noted(1, "work begun"), told(1, "swap failed"), noted(1, "work told to end"))
}
