//go:build unix

package forward

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// What a handler has of net/http besides the request and the answer.
func TestHandlersHaveWhatNetHTTPDoes(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	panics := false
	base := func(ctx context.Context) context.Context {
		if panics {
			panic("of a ConnContext")
		}
		return ctx
	}
	told := make(chan bool, 2)
	p := &Proxy{Listener: func(context.Context) string { return "" }, Failed: func(err error) { t.Error(err) }}
	p.Dial = func() (net.Conn, error) {
		near, far := socketpair(t)
		accept(far, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/wait":
				<-r.Context().Done()
			case "/form":
				if err := r.ParseMultipartForm(1); err != nil {
					t.Error(err)
				}
				if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
					t.Errorf("%d temporary files, %v", len(files), err)
				}
			case "/hijack":
				told <- Hijacked(r.Context())
				nc, _, err := http.NewResponseController(rw).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				told <- Hijacked(r.Context())
				_ = nc.Close()
			}
		}), base)
		return near, nil
	}
	ask := func(r *http.Request) (panicked any) {
		done := make(chan any, 1)
		go func() {
			defer func() { done <- recover() }()
			p.ServeHTTP(httptest.NewRecorder(), r)
		}()
		return await(t, done, r.URL.Path)
	}

	over, end := context.WithCancel(t.Context())
	end()
	for range 100 { // the context has ended before the new process knows of the request
		ask(httptest.NewRequest("GET", "/wait", nil).WithContext(over))
	}

	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, _ := w.CreateFormFile("file", "name")
	_, _ = io.WriteString(part, strings.Repeat("x", 11<<20))
	_ = w.Close()
	r := httptest.NewRequest("POST", "/form", &form)
	r.Header.Set("Content-Type", w.FormDataContentType())
	ask(r)
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("%d temporary files are left, %v", len(files), err)
	}

	panics = true
	if v := ask(httptest.NewRequest("GET", "/", nil)); v != any(http.ErrAbortHandler) {
		t.Errorf("the old process's handler ends with %v", v)
	}
	panics = false
	if v := ask(httptest.NewRequest("GET", "/", nil)); v != nil {
		t.Errorf("after that, the old process's handler ends with %v", v)
	}

	srv := httptest.NewServer(p)
	defer srv.Close()
	_, _ = http.Get(srv.URL + "/hijack")
	if before, after := await(t, told, "the handler"), await(t, told, "the hijack"); before || !after {
		t.Errorf("hijacked before: %v, after: %v", before, after)
	}
}
