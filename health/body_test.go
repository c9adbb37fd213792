package health

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A body that never comes to its end holds up neither the answer nor the end of the connection, and so no stop.
func TestABodyIsNotWaitedFor(t *testing.T) {
	for _, tc := range []struct{ name, request, status string }{
		{"GET", "GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf", "501"},
		{"GET, a byte", "GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", "501"},
		{"GET, chunked", "GET /ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha", "501"},
		{"GET, by HTTP/1.0", "GET /ping HTTP/1.0\r\nContent-Length: 5\r\n\r\nha", "501"},
		{"OPTIONS", "OPTIONS /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", "501"},
		{"HEAD", "HEAD /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", "501"},
		{"POST", "POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\nhalf", "405"},
		{"POST that asks whether it may",
			"POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", "405"},
	} {
		for _, pulled := range []bool{false, true} {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				s := newState(t, Config{})
				if pulled {
					s.Pull()
				}
				nc, err := net.Dial("tcp", serve(t, s))
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.WriteString(nc, tc.request); err != nil {
					t.Fatal(err)
				}
				want := tc.status
				if want == "501" && !pulled {
					want = "200"
				}
				b, err := io.ReadAll(nc)
				if _, status, _ := strings.Cut(string(b), " "); err != nil || !strings.HasPrefix(status, want) ||
					strings.Contains(string(b), "HTTP/1.1 4") && want != "405" {
					t.Errorf("%q, %v; want %s and the end", b, err, want)
				}
			})
		}
	}
}
