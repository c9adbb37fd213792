package drain

import (
	"context"
	"errors"
	"log/slog"
)

// Pull makes the ping path answer Config.PingStatus, so that balancers take the node out, and
// returns nil when their probers have noticed: each has had Config.Failures failing answers and no
// visitor comes any more, or Config.PullMax is over. Pulling a pulled service waits only.
// Everything is served as before.
func (s *Service) Pull(ctx context.Context) error {
	var noticed, over <-chan struct{}
	var err error
	if !s.call(func() {
		s.pullBy = s.generation
		s.pullNow()
		switch {
		case s.pullOver != nil:
			noticed, over = s.health.Noticed(), s.pulled.Done()
		case s.phase == Draining:
			err = refused("drain: pull: this generation is draining; ask the main one", s.leaving()...)
		default:
			err = akin(errors.New("drain: pull: the service is not ready; it will start pulled"), ErrNotReady)
		}
	}) {
		return ErrStopped
	}
	if err != nil {
		return err
	}
	select {
	case <-noticed:
		return nil
	case <-over:
		return akin(errors.New("drain: pull: the service was restored before the probers had noticed"), ErrRestored)
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
		return ErrStopped
	}
}

// Restore makes the ping path answer 200 again. It is an error when the service is stopping, or has been replaced.
func (s *Service) Restore(context.Context) error {
	var leaving []error
	if !s.call(func() {
		if leaving = s.leaving(); leaving == nil {
			s.pullBy = 0
			s.restoreNow()
		}
	}) {
		return ErrStopped
	}
	if leaving != nil {
		return refused("drain: restore: the service is leaving", leaving...)
	}
	return nil
}

func (s *Service) pullNow() {
	switch s.phase {
	case Starting, Probation:
		s.later.add(verbPull)
	case Ready:
		s.pull("pulled")
	case Swapping:
		s.keep(verbPull)
		s.pull("pulled while swapping; the next generation starts pulled")
	}
}

func (s *Service) pull(why string) {
	s.health.Pull()
	if s.pullOver != nil {
		return
	}
	s.pulled, s.pullOver = context.WithCancel(s.ctx)
	phase := s.phase
	if phase == Ready {
		phase = Pulled
	}
	s.enter(phase, why)
	noticed, over := s.health.Noticed(), s.pulled.Done()
	go func() {
		select {
		case <-noticed:
			s.call(func() {
				if s.health.Pulled() {
					s.tell(slog.LevelInfo, "pull noticed", nil)
				}
			})
		case <-over:
		}
	}()
	s.left = s.leaveHook()
}

func (s *Service) restoreNow() {
	s.later.add(verbRestore)
	if s.stopping || s.pullOver == nil || s.phase != Pulled && s.phase != Swapping {
		return
	}
	s.health.Restore()
	s.pullOver()
	s.pullOver = nil
	if s.phase == Swapping {
		s.keep(verbRestore)
		s.enter(Swapping, "restored while swapping")
	} else {
		s.enter(Ready, "restored")
	}
	s.joinHook()
}
