package drain

import (
	"log/slog"
	"strings"
	"time"
)

// settle ends the drain of what is here, once the older generations have finished too: whoever follows this process (a
// service manager, the first process of a container) would end them with it.
func (s *Service) settle() {
	switch {
	case s.phase != Draining || !s.settled || s.cutting != nil || s.hooks.gone:
	case len(s.older) > 0:
		s.tell(slog.LevelInfo, "waiting for older generations", nil, "older", s.olderNames())
	case s.replaced() && time.Since(s.since) < lingerTime:
		time.AfterFunc(lingerTime-time.Since(s.since), func() { s.call(s.settle) })
	default:
		s.bow("stopped", s.result)
	}
}

func (s *Service) olderNames() string {
	var names []string
	for _, o := range s.older {
		names = append(names, o.String())
	}
	return strings.Join(names, ", ")
}
