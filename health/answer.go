package health

import (
	"errors"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// answer is a response made up beforehand: /ping is asked thousands of times a
// second by some balancers.
type answer struct {
	status int
	body   []byte
	header http.Header // its values are shared by all responses
}

var (
	success          = newAnswer(http.StatusOK, `{"code":0,"message":"success"}`)
	methodNotAllowed = newAnswer(http.StatusMethodNotAllowed, `{"code":-1,"message":"method not allowed"}`,
		"Allow", "GET, HEAD, OPTIONS")
)

func newAnswer(status int, body string, header ...string) answer {
	h := http.Header{
		"Content-Type":   {"application/json"},
		"Content-Length": {strconv.Itoa(len(body))},
		// Some failing answers are cacheable by default, 501 among them.
		"Cache-Control": {"no-store"},
	}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return answer{status: status, body: []byte(body), header: h}
}

func (a *answer) write(w http.ResponseWriter, r *http.Request) error {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(a.body)
	return err
}

func probing(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// ServeHTTP answers a probe: 200 and {"code":0,"message":"success"}, or, while
// pulled, Config.Status and {"code":-1,"message":Config.Message} with
// Connection: close, so that a prober with a kept-alive connection does not go
// on hearing this process. GET, HEAD and OPTIONS are probes; other methods are
// answered 405 and leave no trace in the ledger, and so do requests whose
// RemoteAddr is "pipe": over a [net.Pipe] the service probes itself. A body is
// not waited for: the answer is given at once, and closes the connection.
func (s *State) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ignoreBody(w, r)
	if !probing(r.Method) {
		_ = methodNotAllowed.write(w, r)
		return
	}
	p, pull := s.probed(r)
	if pull == 0 {
		_ = success.write(w, r)
		return
	}
	err := s.failing.write(w, r)
	if err == nil {
		// net/http would send the answer only after we have returned.
		err = http.NewResponseController(w).Flush()
	}
	if p != nil && (err == nil || errors.Is(err, http.ErrNotSupported)) {
		s.answered(p, pull)
	}
}

// ignoreBody keeps net/http from reading the body of a request, before the answer or after it: the
// client may never send it, and what is being answered holds up a stop.
func ignoreBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	w.Header().Set("Connection", "close")
	if r.ProtoMajor == 1 { // HTTP/2 resets the stream
		_ = http.NewResponseController(w).SetReadDeadline(longAgo)
	}
}

var longAgo = time.Unix(1, 0)

// probed enters r in the ledger. It returns the prober, nil if it is none, and
// the number of the pull that r falls into, 0 if it falls into none.
func (s *State) probed(r *http.Request) (p *prober, pull uint64) {
	id, known := s.identifyRequest(r)
	from, _ := s.identify(kindPing, r.RemoteAddr, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	pull = s.pull()
	now := s.now()
	if known {
		p = s.ledger.seen(id, now, pull)
	}
	if _, forwarded := forwarder(r.Header); forwarded && pull > 0 && s.ledger.asks(from.host) {
		s.arrived.Store(int64(now)) // a balancer still sends what its clients ask for, on a new connection each time
	}
	return p, pull
}

// pull returns the number of the present pull, 0 if there is none. s.mu is held.
func (s *State) pull() uint64 {
	if s.pulled {
		return s.pulls
	}
	return 0
}

// Live returns a handler for /livez: 200 throughout, pulled or not, for whoever
// restarts processes that do not answer. It keeps no ledger.
func (s *State) Live() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ignoreBody(w, r)
		if !probing(r.Method) {
			_ = methodNotAllowed.write(w, r)
			return
		}
		_ = success.write(w, r)
	})
}
