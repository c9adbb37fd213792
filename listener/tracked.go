package listener

import (
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"
	"weak"
)

// servers are those that were given to Track, for as long as somebody else holds them.
type servers struct {
	mu  sync.Mutex // guards all, and the fields of a server while Track changes them
	all map[weak.Pointer[http.Server]]struct{}
}

// add reports whether srv is new. The caller holds mu.
func (s *servers) add(srv *http.Server) bool {
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
func (s *servers) shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.all {
		if srv := key.Value(); srv != nil {
			for _, f := range onShutdown(srv) {
				go f()
			}
		}
	}
}

// onShutdown returns what srv.RegisterOnShutdown was given. Net/http calls that in Shutdown only,
// which drops requests that it has read; so there is no way but to look. A net/http that keeps the
// functions elsewhere has none for us; a test tells. The functions by which HTTP/2 ends its
// connections are left out: they throw requests away, see h2drain.
func onShutdown(srv *http.Server) []func() {
	field, lock := reflect.ValueOf(srv).Elem().FieldByName("onShutdown"), reflect.ValueOf(srv).Elem().FieldByName("mu")
	if !field.IsValid() || field.Type() != reflect.TypeFor[[]func()]() ||
		!lock.IsValid() || lock.Type() != reflect.TypeFor[sync.Mutex]() {
		return nil
	}
	mu := (*sync.Mutex)(unsafe.Pointer(lock.UnsafeAddr()))
	mu.Lock() // others may register more
	registered := slices.Clone(*(*[]func())(unsafe.Pointer(field.UnsafeAddr())))
	mu.Unlock()
	var all []func()
	for _, f := range registered {
		if !endsHTTP2(runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()) {
			all = append(all, f)
		}
	}
	return all
}

// endsHTTP2 knows the function by its name: net/http's up to Go 1.26, net/http/internal/http2's since, and the one of
// golang.org/x/net/http2, also in a vendor folder.
func endsHTTP2(name string) bool {
	for _, method := range []string{
		"net/http.(*http2serverInternalState).startGracefulShutdown-fm",
		"net/http/internal/http2.(*Server).GracefulShutdown-fm",
		"golang.org/x/net/http2.(*serverInternalState).startGracefulShutdown-fm",
	} {
		if strings.HasSuffix(name, method) {
			return true
		}
	}
	return false
}
