package health

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

const maxText = 256 // bytes kept of a host or User-Agent

// identity is what makes two probes the same prober's.
type identity struct {
	kind, host, agent string
	form              form
	via               string // for whom the host has forwarded it
}

func (id identity) clone() identity {
	id.host, id.agent, id.via = strings.Clone(id.host), strings.Clone(id.agent), strings.Clone(id.via)
	id.form.Method, id.form.Version, id.form.Host = strings.Clone(id.form.Method),
		strings.Clone(id.form.Version), strings.Clone(id.form.Host)
	return id
}

// form is what a request looks like, but for what may differ from one to the next. A balancer asks in one form, always;
// what its clients ask for through it mostly has another.
type form struct {
	Method  string `json:"method"`
	Version string `json:"version"` // of HTTP
	Host    string `json:"host,omitempty"`
	Headers uint32 `json:"headers,omitempty"` // a sum of their names
}

func formOf(r *http.Request) form {
	f := form{Method: r.Method, Version: r.Proto, Host: clip(r.Host)}
	for name := range r.Header {
		if name == "Connection" {
			continue
		}
		h := uint32(2166136261) // FNV-1a, the same in every process
		for i := range len(name) {
			h = (h ^ uint32(name[i])) * 16777619
		}
		f.Headers += h
	}
	return f
}

func (f form) String() string {
	if f == (form{}) {
		return ""
	}
	return fmt.Sprintf("%s %s %q %08x", f.Method, f.Version, f.Host, f.Headers)
}

// identify returns whose probe it is; not ok if it is our own, or that of somebody who is no prober by Config.Probers.
func (s *State) identify(kind, remote, agent string) (id identity, ok bool) {
	if remote == "pipe" {
		return identity{}, false
	}
	host := hostOf(remote)
	if !s.admits(host) {
		return identity{}, false
	}
	return identity{kind: kind, host: clip(host), agent: clip(agent)}, true
}

// hostOf returns the host of a remote address; "unix" for all clients of unix sockets.
func hostOf(remote string) string {
	host := remote
	switch {
	case host == "" || host[0] == '@' || host[0] == '/':
		host = "unix"
	case host[0] == '[':
		host, _, _ = strings.Cut(host[1:], "]")
	case strings.Count(host, ":") == 1: // with more it is an IPv6 address that some middleware put there
		host, _, _ = strings.Cut(host, ":")
	}
	return host
}

// admits reports whether a host may be a prober's. Clients of unix sockets are of this machine.
func (s *State) admits(host string) bool {
	if len(s.cfg.Probers) == 0 || host == "unix" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		withPort, err := netip.ParseAddrPort(host) // some proxies forward it
		if err != nil {
			return false
		}
		addr = withPort.Addr()
	}
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(s.cfg.Probers, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// identifyRequest is identify for HTTP. What a proxy has forwarded says so, if the proxy is set to.
func (s *State) identifyRequest(r *http.Request) (id identity, ok bool) {
	if id, ok = s.identify(kindPing, r.RemoteAddr, r.UserAgent()); !ok {
		return id, false
	}
	if by, forwarded := forwarder(r.Header); forwarded {
		if len(s.cfg.Probers) > 0 && !s.admits(by) {
			return identity{}, false
		}
		id.via = clip(by)
	}
	id.form = formOf(r)
	return id, true
}

// forwarder returns for whom a request was forwarded, as the last proxy says, the only one that need not be believed by
// hearsay; "?" if it doesn't.
func forwarder(h http.Header) (by string, forwarded bool) {
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Via"} {
		values, ok := h[name]
		if !ok {
			continue
		}
		forwarded = true
		if name == "Via" || name == "Forwarded" || len(values) == 0 {
			continue
		}
		last := values[len(values)-1]
		if by = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]); by != "" {
			return by, true
		}
	}
	return "?", forwarded
}

// clip bounds s and makes it survive JSON unchanged.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "?")
}
