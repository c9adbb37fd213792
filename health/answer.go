package health

import (
	"maps"
	"net/http"
	"strconv"
	"time"
)

// answer is a response made up beforehand: some balancers ask for /ping thousands of times a second.
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
	if r.ProtoMajor != 1 { // net/http would make a GOAWAY of it, which loses other requests on the connection
		delete(w.Header(), "Connection")
	}
	w.WriteHeader(a.status)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(a.body)
	return err
}

// accept reports whether r has the method of a probe, and answers it otherwise. It keeps net/http from
// reading a body, before the answer or after it: the client may never send it, and what is being answered
// holds up a stop.
func accept(w http.ResponseWriter, r *http.Request) bool {
	if r.ContentLength != 0 && r.ProtoMajor == 1 { // HTTP/2 resets the stream
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
	}
	if IsProbe(r.Method) {
		return true
	}
	_ = methodNotAllowed.write(w, r)
	return false
}

// IsProbe reports whether a probe may have that method: GET, HEAD or OPTIONS, which is HAProxy's default.
func IsProbe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
