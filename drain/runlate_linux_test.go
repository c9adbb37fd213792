package drain

import (
	"context"
	"errors"
	"testing"
)

// The program exits when Run returns: also where a server failed before Run, the last event is delivered first.
func TestRunAfterTheEndWaitsForTheLastWords(t *testing.T) {
	t.Parallel()
	s, _ := alone(t, Starting)
	read := make(chan struct{})
	defer close(read)
	failure := errors.New("a server fails")
	s.call(func() {
		s.running = false
		s.cfg.OnEvent = func(Event) { <-read }
		s.fail(failure)
	})
	<-s.ended
	if err := s.Run(context.Background()); !errors.Is(err, failure) {
		t.Errorf("Run: %v", err)
	}
	if !isClosed(s.over) {
		t.Error("Run returns before the last event is delivered, or given up")
	}
}
