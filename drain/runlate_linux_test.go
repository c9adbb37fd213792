package drain

import (
	"context"
	"errors"
	"testing"

	"github.com/baton-go/baton/drain/internal/machine"
)

// The program exits when Run returns: also where a server failed before Run, the last event is delivered first.
func TestRunAfterTheEndWaitsForTheLastWords(t *testing.T) {
	t.Parallel()
	read := make(chan struct{})
	defer close(read)
	s, _ := alone(t, machine.Starting, func(r *runner) {
		r.state.Running = false
		r.emitter.onEvent = func(Event) { <-read }
	})
	failure := errors.New("a server fails")
	s.run.post(machine.ServerFailed{Err: failure})
	<-s.run.ended
	if err := s.Run(context.Background()); !errors.Is(err, failure) {
		t.Errorf("Run: %v", err)
	}
	if !isClosed(s.run.over) {
		t.Error("Run returns before the last event is delivered, or given up")
	}
}
