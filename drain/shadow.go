package drain

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/baton-go/baton/health"
)

// warnOfShadows says where PingPath or LivePath answers in the place of a route of the program, as far as that can be
// found: see shadowed.
func (s *Service) warnOfShadows(h http.Handler) {
	for _, p := range []struct{ field, path string }{{"PingPath", s.cfg.PingPath}, {"LivePath", s.cfg.LivePath}} {
		if route := s.shadowed(h, p.path); route != "" {
			s.cfg.Logger.Warn("a route of the program is never asked", "route", route, "by", "Config."+p.field, "cure",
				`set that to another path; or to "-", and mount Service.Health() at the route`)
		}
	}
}

// shadowed returns the route of h for probes of that path, "" if none is found. It asks an http.ServeMux, and routers
// that list their routes as those of Gin, Echo and chi do. It calls no handler to find out. So it finds no route behind
// middleware that is a function, for a host of its own, with wildcards, or in a router below another one.
func (s *Service) shadowed(h http.Handler, path string) string {
	if mux, ok := h.(*http.ServeMux); ok {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
			handler, pattern := mux.Handler(&http.Request{Method: method, URL: &url.URL{Path: path}})
			if pattern[strings.LastIndex(pattern, " ")+1:] == path && handler != http.Handler(s.mounted) {
				return pattern
			}
		}
		return ""
	}
	list := reflect.ValueOf(h).MethodByName("Routes")
	if !list.IsValid() {
		return ""
	}
	if is := list.Type(); is.NumIn() != 0 || is.NumOut() != 1 || is.Out(0).Kind() != reflect.Slice {
		return ""
	}
	routes := list.Call(nil)[0]
	for i := range routes.Len() {
		r := reflect.Indirect(routes.Index(i))
		if r.Kind() != reflect.Struct || text(r, "Path") != path && text(r, "Pattern") != path {
			continue
		}
		for _, m := range methodsOf(r) {
			if m == "" || m == "*" || health.IsProbe(m) {
				return strings.TrimSpace(m + " " + path)
			}
		}
	}
	return ""
}

// methodsOf are the methods of a route: "" or "*" stands for all. Chi has a handler for each.
func methodsOf(route reflect.Value) []string {
	handlers := route.FieldByName("Handlers")
	if !handlers.IsValid() || handlers.Kind() != reflect.Map {
		return []string{text(route, "Method")}
	}
	var all []string
	for _, m := range handlers.MapKeys() {
		all = append(all, m.String())
	}
	slices.Sort(all)
	return all
}

// text is a field of a struct, "" if that has no such string.
func text(of reflect.Value, field string) string {
	if f := of.FieldByName(field); f.IsValid() && f.Kind() == reflect.String {
		return f.String()
	}
	return ""
}
