//go:build unix

package forward

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkRequest: what a forwarded request costs, both processes together.
func BenchmarkRequest(b *testing.B) {
	body := strings.Repeat("x", 1000)
	for _, c := range []struct {
		name, body string
		h          http.HandlerFunc
	}{
		{"get", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(200)
			_, _ = io.WriteString(w, body)
		}},
		{"post", body, func(w http.ResponseWriter, r *http.Request) {
			p, _ := io.ReadAll(r.Body)
			_, _ = w.Write(p)
		}},
		{"copy", body, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := &Proxy{
				Dial: func() (net.Conn, error) {
					near, far := socketpair(b)
					accept(far, c.h, same)
					return near, nil
				},
				Listener: func(context.Context) string { return "tcp 127.0.0.1:80" },
				Failed:   func(err error) { b.Error(err) },
			}
			const headers = "User-Agent Accept Accept-Encoding Accept-Language Cookie X-Request-Id"
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := httptest.NewRequest("POST", "/a/b?c=d", strings.NewReader(c.body))
					for _, k := range strings.Fields(headers) {
						r.Header.Set(k, "what a client says of itself")
					}
					if w := httptest.NewRecorder(); w.Code == 200 {
						p.ServeHTTP(w, r)
						if w.Body.Len() != len(body) {
							b.Error(w.Body.Len())
						}
					}
				}
			})
		})
	}
}
