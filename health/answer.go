package health

import (
	"errors"
	"maps"
	"net/http"
	"strconv"
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
// RemoteAddr is "pipe": over a [net.Pipe] the service probes itself.
func (s *State) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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

// probed enters r in the ledger. It returns the prober, nil if it is none, and
// the number of the pull that r falls into, 0 if it falls into none.
func (s *State) probed(r *http.Request) (p *prober, pull uint64) {
	id, known := identify(kindPing, r.RemoteAddr, r.UserAgent())
	s.mu.Lock()
	defer s.mu.Unlock()
	if known {
		p = s.ledger.seen(id, s.now(), s.pulled)
	}
	if s.pulled {
		pull = s.pulls
	}
	return p, pull
}

// Live returns a handler for /livez: 200 throughout, pulled or not, for whoever
// restarts processes that do not answer. It keeps no ledger.
func (s *State) Live() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !probing(r.Method) {
			_ = methodNotAllowed.write(w, r)
			return
		}
		_ = success.write(w, r)
	})
}
