// Package identity tells probers apart: by what they are, where they come from, and how they ask.
package identity

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// The kinds of probers. An older version knows Ping only.
const (
	Ping      = "ping"
	Agent     = "agent"
	Heartbeat = "heartbeat"
	Watch     = "watch"
)

// MaxText is how many bytes are kept of each text of an ID.
const MaxText = 256

// ID is what two probes of one prober have in common.
type ID struct {
	Kind      string `json:"kind,omitempty"` // default Ping
	Host      string `json:"host"`           // "unix" for all clients of unix sockets
	UserAgent string `json:"user_agent"`
	Form      Form   `json:"form,omitzero"` // older versions know none
	Via       string `json:"via,omitempty"` // for whom Host has forwarded it; likewise
}

// Form is what a request looks like, but for what may differ from one to the next. A balancer asks in one form, always;
// what its clients ask for through it mostly has another.
type Form struct {
	Method  string `json:"method"`
	Version string `json:"version"` // of HTTP
	Host    string `json:"host,omitempty"`
	Headers uint32 `json:"headers,omitempty"` // a sum of their names
}

// String returns f on one line, and nothing for a form that is unknown.
func (f Form) String() string {
	if f == (Form{}) {
		return ""
	}
	return fmt.Sprintf("%s %s %q %08x", f.Method, f.Version, f.Host, f.Headers)
}

// Clone returns a copy of id that holds on to no request: its texts may be small parts of a large one.
func (id ID) Clone() ID {
	for _, s := range id.texts() {
		*s = strings.Clone(*s)
	}
	return id
}

// Bounded reports whether all texts of id are as New and Request clip them.
func (id ID) Bounded() bool {
	return !slices.ContainsFunc(id.texts(), func(s *string) bool { return Clip(*s) != *s })
}

func (id *ID) texts() []*string {
	return []*string{&id.Kind, &id.Host, &id.UserAgent, &id.Form.Method, &id.Form.Version, &id.Form.Host, &id.Via}
}

// Networks are those that probers come from. Where there are none, each host may be a prober.
type Networks []netip.Prefix

// Remote returns the identity of what comes from a remote address. It is not ok if that is the service's own probe
// ("pipe", the address of a net.Pipe), or of no prober by n.
func (n Networks) Remote(kind, remote, agent string) (id ID, ok bool) {
	host := Host(remote)
	if remote == "pipe" || !n.admit(host) {
		return ID{}, false
	}
	return ID{Kind: kind, Host: Clip(host), UserAgent: Clip(agent)}, true
}

// Request is Remote for HTTP. What a host in n forwards is ok if it comes from n, too; Via is set in any case.
func (n Networks) Request(r *http.Request) (id ID, ok bool) {
	if id, ok = n.Remote(Ping, r.RemoteAddr, r.UserAgent()); !ok {
		return id, false
	}
	id.Form = formOf(r)
	if by, forwarded := forwarder(r.Header); forwarded {
		id.Via, ok = Clip(by), n.admit(by)
	}
	return id, ok
}

// admit reports whether a host may be a prober's. Clients of unix sockets are of this machine.
func (n Networks) admit(host string) bool {
	if len(n) == 0 || host == "unix" {
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
	return slices.ContainsFunc(n, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// Host returns the host of a remote address; "unix" for all clients of unix sockets.
func Host(remote string) string {
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

func formOf(r *http.Request) Form {
	f := Form{Method: r.Method, Version: r.Proto, Host: Clip(r.Host)}
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

// forwarder returns for whom a request was forwarded, as the last proxy says; the others are hearsay. It is "?" where
// the last proxy does not say.
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

// Clip bounds s and makes it survive JSON unchanged.
func Clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), MaxText)], "?")
}
