package drain

// keeperName is the name under which the far end is passed on from generation to generation.
const keeperName = "baton-keeper"

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
