package drain

// keeperName is the name under which the far end is passed on from generation to generation.
const keeperName = "baton-keeper"

// How the name of a keeper's socket begins, in the abstract namespace: nothing is left of it after
// a SIGKILL, and the file system may be read-only. A keeper that is alone has no service manager
// above it: it heeds MAINPID and BARRIER, and nothing is stored.
const (
	aloneSocket = "@baton-keeper-alone/"
	relaySocket = "@baton-keeper/"
)

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
