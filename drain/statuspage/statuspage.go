// Package statuspage is a page on which operators see, live, what a service does. It shows the generations on a
// timeline, the connections, which probers have noticed a pull, swaps and why they failed, what is waited for, and the
// ledger of losses. It is plain HTML with one small script, and needs nothing from elsewhere.
//
//	mux.Handle("/baton/", statuspage.New(svc, statuspage.Options{}))
//
// With Gin: r.Any("/baton/*any", gin.WrapH(page)). The page loads its parts by relative paths. So it works under any
// path that ends with a slash, with http.StripPrefix or without, and behind a proxy that takes a prefix off.
//
// Whoever reaches the page can read it: addresses of probers, names of background work, errors. Mount it on a port of
// its own, or behind the program's authentication.
package statuspage

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/baton-go/baton/drain"
)

// Service is what the page shows: a [drain.Service]. What asks for the page is aside there, see [drain.Service.Aside].
type Service interface {
	// Status is what the page shows. It is called ten times a second at most.
	Status() drain.Status

	// These are what the buttons do. Each returns when that is done, or with an error, which the page shows.
	Swap(ctx context.Context) error
	Pull(ctx context.Context) error
	Restore(ctx context.Context) error
	Stop(ctx context.Context) error
}

// Action is what a button of the page does.
type Action string

// The actions: the methods of Service.
const (
	Swap    Action = "swap"
	Pull    Action = "pull"
	Restore Action = "restore"
	Stop    Action = "stop"
)

// Options are what New can be told. The zero value shows everything, and allows no action.
type Options struct {
	// Name is what the page calls this node. Default: the host's name.
	Name string

	// Allow tells whether the sender of r may do that. It is asked for each action that is to be done, when r.Method is
	// POST, and with any other method to find out which buttons to show. Default: no action is allowed.
	//
	// The page refuses forged requests before it asks Allow. An action must come from a page of the same origin, by a
	// name of Hosts, with the token of this process. Allow identifies the sender: by the address, a proxy's header, or
	// what middleware around the page has found out. The page itself asks for no password.
	Allow func(r *http.Request, a Action) bool

	// Hosts are names by which operators reach the page, besides IP addresses and localhost. By any other name it can
	// be read, but does nothing: another site may let its own name point here (DNS rebinding).
	Hosts []string
}

//go:embed page.html page.css page.js icon.svg
var files embed.FS

// types are the parts of the page by their names.
var types = map[string]string{
	"":         "text/html; charset=utf-8",
	"page.css": "text/css; charset=utf-8",
	"page.js":  "text/javascript; charset=utf-8",
	"icon.svg": "image/svg+xml",
	state:      "application/json",
}

const (
	state = "status.json"

	// fresh is how old a status may be, so that any number of pages costs ten a second.
	fresh = 100 * time.Millisecond
	// enough is how long an action is waited for. What takes longer goes on, and the page shows it: a handler that
	// waited would hold up what it waits for.
	enough = 100 * time.Millisecond
	// unread is how long an answer may wait for its reader, which may be gone without a FIN.
	unread = 5 * time.Second
	// tokenHeader has the token of the process that the page shows: what an operator means for that one is not done by
	// the next. Pages of other origins can't set it.
	tokenHeader = "X-Status-Token"
)

type handler struct {
	Options
	svc   Service
	token string
	cross *http.CrossOriginProtection

	mu   sync.Mutex // guards what follows
	at   time.Time
	text []byte // the status at that time
}

// New returns the page of svc. No request of it takes long, so none holds up a swap or a stop.
func New(svc Service, o Options) http.Handler {
	if o.Name == "" {
		o.Name, _ = os.Hostname()
	}
	h := &handler{Options: o, svc: svc, token: rand.Text(), cross: http.NewCrossOriginProtection()}
	served := http.Handler(http.HandlerFunc(h.serve))
	if s, ok := svc.(interface {
		Aside(h http.Handler) http.Handler
	}); ok {
		served = s.Aside(served)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch name := nameOf(r); {
		case r.URL.Path == "": // by StripPrefix
			asked, _, _ := strings.Cut(r.RequestURI, "?")
			w.Header().Set("Location", path.Base(asked)+"/")
			w.WriteHeader(http.StatusMovedPermanently)
		case types[name] == "" && h.does(Action(name)) == nil:
			http.NotFound(w, r)
		default:
			served.ServeHTTP(w, r)
		}
	})
}

// nameOf is the last part of the path, whatever the prefix is; "" for the page itself.
func nameOf(r *http.Request) string { return r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:] }

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	for name, value := range map[string]string{
		"Cache-Control": "no-store",
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
			"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy":              "same-origin",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
	} {
		w.Header().Set(name, value)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(unread))
	name := nameOf(r)
	w.Header().Set("Content-Type", types[name])
	do := h.does(Action(name))
	switch allowed := "GET, HEAD"; {
	case do != nil && r.Method == http.MethodPost:
		h.act(w, r, Action(name), do)
	case do != nil:
		allowed = "POST"
		fallthrough
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", allowed)
		http.Error(w, "statuspage: want "+allowed, http.StatusMethodNotAllowed)
	case name == state:
		_ = json.NewEncoder(w).Encode(h.look(r))
	default:
		text, _ := files.ReadFile(cmp.Or(name, "page.html"))
		_, _ = w.Write(text)
	}
}

// view is the JSON that the page, and others, get as status.json.
type view struct {
	Name   string          `json:"name"`
	Now    time.Time       `json:"now"` // by the clock of the service
	May    []Action        `json:"may"` // what the sender of the request is allowed
	Token  string          `json:"token"`
	Status json.RawMessage `json:"status"`
}

func (h *handler) look(r *http.Request) view {
	v := view{Name: h.Name, May: []Action{}}
	for _, a := range []Action{Swap, Pull, Restore, Stop} {
		if h.Allow != nil && h.known(r.Host) && h.Allow(r, a) {
			v.May = append(v.May, a)
		}
	}
	if len(v.May) > 0 {
		v.Token = h.token
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.at) > fresh {
		h.text, _ = json.Marshal(h.svc.Status())
		h.at = time.Now()
	}
	v.Status, v.Now = h.text, h.at
	return v
}

func (h *handler) does(a Action) func(context.Context) error {
	return map[Action]func(context.Context) error{
		Swap: h.svc.Swap, Pull: h.svc.Pull, Restore: h.svc.Restore, Stop: h.svc.Stop,
	}[a]
}

func (h *handler) act(w http.ResponseWriter, r *http.Request, a Action, do func(context.Context) error) {
	code, why := http.StatusForbidden, ""
	switch {
	case h.cross.Check(r) != nil:
		why = "the request comes from a page of another origin"
	case !h.known(r.Host):
		code, why = http.StatusMisdirectedRequest, "no name of this page: Options.Hosts lists them"
	case subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(h.token)) == 0:
		code, why = http.StatusConflict, "another process answers than the page shows: look again"
	case h.Allow == nil || !h.Allow(r, a):
		why = "not allowed: Options.Allow decides"
	default:
		code = http.StatusOK
		ctx, cancel := context.WithTimeout(context.Background(), enough)
		defer cancel()
		if err := do(ctx); errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
			code = http.StatusAccepted
		} else if err != nil {
			code, why = http.StatusInternalServerError, err.Error()
			if errors.As(err, new(*drain.RefusedError)) {
				code = http.StatusConflict
			}
		}
	}
	if why != "" {
		http.Error(w, "statuspage: "+string(a)+": "+why, code)
		return
	}
	h.mu.Lock()
	h.at = time.Time{} // the next look sees it
	h.mu.Unlock()
	w.WriteHeader(code)
}

// known tells whether a page under that host can't be a stranger's.
func (h *handler) known(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" ||
		slices.ContainsFunc(h.Hosts, func(name string) bool { return strings.EqualFold(name, host) })
}
