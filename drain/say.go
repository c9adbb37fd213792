package drain

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/baton-go/baton/drain/internal/later"
)

// What a service says, it says in log lines, in events and to a service manager. Each has a queue
// with a goroutine of its own: the program's code and a reader that has stopped block there, and
// the loop, which only puts into them, goes on.

// lastWords is how long what is left to say at the end may take.
const lastWords = time.Second

// logTo makes the logger one that never blocks, and whose lines name the process.
func (s *Service) logTo(log *slog.Logger) {
	s.lines = later.NewHandler(log.Handler())
	s.cfg.Logger = slog.New(s.lines).With("pid", os.Getpid())
}

// happened queues an event. Before observe nothing is delivered.
func (s *Service) happened(e Event) {
	if s.cfg.OnEvent != nil {
		s.events.Put(func() { s.cfg.OnEvent(e) })
	}
}

// observe lets events be delivered. It is called when New has returned: OnEvent may use the variable that the program
// keeps the Service in.
func (s *Service) observe() { s.events.Start() }

// sayLast waits until the queues and links are empty, for lastWords at most, or until an operator
// who has waited long enough sends another signal to stop.
func (s *Service) sayLast() {
	s.observe()
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		var all sync.WaitGroup
		all.Go(func() { s.reports.close(s.lastReport); s.flush() })
		all.Go(func() { s.events.Flush(ctx) })
		all.Go(func() { s.manager.flush(ctx) })
		all.Go(func() { s.lines.Flush(ctx) })
		all.Wait()
		if ctx.Err() == nil {
			s.lines.Flush(ctx) // what the others had to say
		}
	}()
	for {
		select {
		case <-over:
			return
		case sig := <-s.signals:
			if slices.Contains(s.cfg.Signals.Stop, sig) {
				return
			}
		case a := <-s.arrivals: // from takeSignals, until that has ended
			if slices.Contains(s.cfg.Signals.Stop, a.Signal) {
				return
			}
		}
	}
}

// die ends the process by the signal, as if no handler of it were installed.
func (s *Service) die(sig os.Signal) {
	s.manager.close()
	s.sayLast()
	raise(sig)
}
