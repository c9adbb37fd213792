//go:build unix

package forward

import (
	"bytes"
	"context"
	"errors"
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

// A handler learns that the process with the client's connection leaves, however many are between the two. It learns
// nothing from one of a version that knows no such call, nor where the client itself leaves.
func TestHandlersLeaveWithTheOldProcess(t *testing.T) {
	t.Parallel()
	errOld, errBetween := errors.New("the old process leaves"), errors.New("one between")
	asked, causes, over := make(chan func(), 1), make(chan error, 1), make(chan struct{})
	handler := http.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx := Draining(r.Context(), errOld)
		if r.URL.Path == "/stay" {
			<-over
			return
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		<-Draining(r.Context(), errOld).Done() // asked again
	}))
	before := func(h http.Handler, draining func(context.Context) context.Context) *Proxy {
		return &Proxy{
			Dial: func() (net.Conn, error) {
				near, far := socketpair(t)
				accept(far, h, same)
				return near, nil
			},
			Listener: func(context.Context) string { return "" },
			Failed:   func(err error) { t.Error(err) },
			Draining: draining,
		}
	}
	old := func(ctx context.Context) context.Context {
		ctx, leave := context.WithCancel(ctx)
		asked <- leave
		return ctx
	}
	between := before(handler, func(ctx context.Context) context.Context { return Draining(ctx, errBetween) })
	for name, p := range map[string]*Proxy{"one": before(handler, old), "two": before(between, old)} {
		for _, path := range []string{"/told", "/client", "/stay"} {
			t.Run(name+path, func(t *testing.T) {
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				answered := make(chan struct{})
				go func() {
					defer close(answered)
					p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil).WithContext(ctx))
				}()
				tell, want := await(t, asked, "the question"), errOld
				switch path {
				case "/told":
					tell()
				case "/stay":
					over <- struct{}{}
				case "/client":
					leave()
					want = context.Canceled
				}
				if path != "/stay" {
					if err := await(t, causes, "the context's end"); err != want {
						t.Errorf("the cause is %v, not %v", err, want)
					}
				}
				await(t, answered, "the request's end")
			})
		}
	}
	t.Run("an older version", func(t *testing.T) {
		near, far := socketpair(t)
		accept(far, handler, same)
		tr, op := newTrunk(near, nil), make(chan string, 1)
		go func() { _ = tr.run() }()
		s, _ := tr.add(0)
		s.heed = func(m message) message {
			op <- m.Op
			return message{Fault: faultOf(http.ErrNotSupported)}
		}
		r := httptest.NewRequest("GET", "/told", nil)
		answer := s.ask(message{Op: "serve", About: aboutOf(r, ""), Request: requestOf(r)})
		if got := await(t, op, "the question"); got != "draining" {
			t.Error(got)
		}
		s.send(message{Op: "gone"})
		if err := await(t, causes, "the context's end"); err != context.Canceled {
			t.Error(err)
		}
		await(t, answer, "the answer")
		near.Close()
	})
}
