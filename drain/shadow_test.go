package drain

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

// Routers that list their routes, as Gin, Echo and chi do.
type (
	ginRouter  struct{ http.Handler }
	ginRoute   struct{ Method, Path, Handler string }
	echoRouter struct{ http.Handler }
	echoRoute  struct{ Method, Path, Name string }
	chiRouter  struct{ http.Handler }
	chiRoute   struct {
		Handlers map[string]http.Handler
		Pattern  string
	}
	otherRouter struct{ http.Handler }
)

func (ginRouter) Routes() []ginRoute {
	return []ginRoute{{"POST", "/up", ""}, {"HEAD", "/ping", ""}, {"GET", "/:any", ""}}
}
func (echoRouter) Routes() []*echoRoute {
	return []*echoRoute{{"POST", "/up", ""}, {"GET", "/ping", ""}}
}
func (chiRouter) Routes() []chiRoute {
	return []chiRoute{{map[string]http.Handler{"POST": nil}, "/up"},
		{map[string]http.Handler{"POST": nil, "*": nil}, "/ping"}}
}
func (otherRouter) Routes(string) int { return 0 }

// A route of the program's that PingPath answers is found without calling any handler.
func TestShadowedRoutes(t *testing.T) {
	t.Parallel()
	s := &Service{mounted: &mounted{}}
	never := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a handler is called") })
	mux := func(patterns ...string) *http.ServeMux {
		m := http.NewServeMux()
		for _, p := range patterns {
			m.Handle(p, never)
		}
		return m
	}
	ours := http.NewServeMux()
	ours.Handle("/ping", s.mounted)
	for name, c := range map[string]struct {
		h    http.Handler
		want string
	}{
		"ServeMux":                   {mux("/", "/ping"), "/ping"},
		"ServeMux, a method":         {mux("GET /ping", "POST /ping"), "GET /ping"},
		"ServeMux, OPTIONS":          {mux("OPTIONS /ping"), "OPTIONS /ping"},
		"ServeMux, another method":   {mux("POST /ping", "/"), ""},
		"ServeMux, for all paths":    {mux("/", "/{any}", "/ping/"), ""},
		"ServeMux, where ours is":    {ours, ""},
		"Gin":                        {ginRouter{}, "HEAD /ping"},
		"Echo":                       {echoRouter{}, "GET /ping"},
		"chi":                        {chiRouter{}, "* /ping"},
		"another method of the name": {otherRouter{}, ""},
		"a function":                 {never, ""},
	} {
		if got := s.shadowed(c.h, "/ping"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if got := s.shadowed(c.h, "/up"); got != "" {
			t.Errorf("%s: /up is no probe's, %q", name, got)
		}
	}
}

// What one server has for operators, another may have for visitors, which put off that a pull is noticed. A scan of one
// takes no place of another's paths.
func TestPathsOfOperatorsAreOfAServer(t *testing.T) {
	t.Parallel()
	m := &mounted{paths: make(map[any]map[string]bool)}
	ask := func(of *http.Server, path string) *http.Request {
		r := httptest.NewRequest("GET", path, nil)
		return r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, of))
	}
	ops, public := new(http.Server), new(http.Server)
	for i := range mostPaths + 4 {
		m.learn(ask(ops, "/"+strconv.Itoa(i)))
	}
	m.learn(ask(public, "/healthz?full"))
	for path, want := range map[string][2]bool{"/0": {true, false}, "/healthz": {false, true}, "/19": {false, false}} {
		if got := [2]bool{m.at(ask(ops, path)), m.at(ask(public, path))}; got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}
