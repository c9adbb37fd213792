package drain

import (
	"context"
	"os"

	"github.com/baton-go/baton/drain/internal/keeper"
)

// stay makes this process the keeper. It returns only if that can't be.
func (s *Service) stay() error {
	code, err := keeper.Stay(s.cfg.Logger, s.cfg.Signals.Stop)
	if err != nil {
		return err
	}
	late, done := context.WithTimeout(context.Background(), lastWords)
	defer done()
	s.lines.Flush(late)
	os.Exit(code)
	return nil
}

// heedKeeper tells the keeper that signals are handled here, and stops the service when the keeper is gone.
func (s *Service) heedKeeper() {
	if s.keeper == nil {
		return
	}
	if !s.os.inherits {
		_, _ = s.keeper.Write([]byte{1})
	}
	_, _ = s.keeper.Read(make([]byte, 1))
	s.call(func() {
		if s.phase != Draining {
			s.cfg.Logger.Warn("the keeper is gone: stopping")
			s.stopNow(nil)
		}
	})
}
