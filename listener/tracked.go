package listener

import (
	"net/http"
	"runtime"
	"sync"
	"weak"

	"github.com/baton-go/baton/listener/internal/quirks"
)

// trackedServers are those that were given to Track, as long as the program refers to them.
type trackedServers struct {
	mu  sync.Mutex // guards all, and the fields of a server while Track changes them
	all map[weak.Pointer[http.Server]]struct{}
}

// add reports whether srv is new. The caller holds mu.
func (s *trackedServers) add(srv *http.Server) bool {
	key := weak.Make(srv)
	if _, known := s.all[key]; known {
		return false
	}
	if s.all == nil {
		s.all = make(map[weak.Pointer[http.Server]]struct{})
	}
	s.all[key] = struct{}{}
	runtime.AddCleanup(srv, func(key weak.Pointer[http.Server]) {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, key)
	}, key)
	return true
}

// shutdown calls what the servers' RegisterOnShutdown was given, as http.Server.Shutdown does.
func (s *trackedServers) shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.all {
		if srv := key.Value(); srv != nil {
			for _, f := range quirks.OnShutdown(srv) {
				go f()
			}
		}
	}
}
