package drain

import (
	"log/slog"
	"sync"
	"testing"
)

// A disk that doesn't answer doesn't hold up the loop for long: this returns while the rename goes on.
func TestSlowDiskOfThePIDFile(t *testing.T) {
	t.Parallel()
	answers := make(chan struct{})
	var placing sync.WaitGroup
	placing.Add(1)
	s := &Service{cfg: Config{Logger: slog.New(slog.DiscardHandler)}, placePID: func() error {
		defer placing.Done()
		<-answers
		return nil
	}}
	s.placePIDFile()
	close(answers)
	placing.Wait()
}
