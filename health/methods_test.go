package health

import (
	"strings"
	"testing"
)

// What a prober asks is its own affair, as long as it asks the same each time; also over
// a connection that it means to keep, which the failing answer closes.
func TestEveryFormOfAProbeCounts(t *testing.T) {
	for _, tc := range []struct{ name, request string }{
		{"GET", "GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"},
		{"HEAD", "HEAD /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"},
		{"OPTIONS", "OPTIONS /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"},
		{"GET by HTTP/1.0 without Host", "GET /ping HTTP/1.0\r\n\r\n"},
		{"HEAD by HTTP/1.0 without Host", "HEAD /ping HTTP/1.0\r\n\r\n"},
		{"OPTIONS by HTTP/1.0 without Host", "OPTIONS /ping HTTP/1.0\r\n\r\n"},
		{"kept alive", "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newState(t, Config{})
			// Of what comes here, some a millisecond, it would learn an interval after whose triple the prober is dead.
			if err := s.Import([]byte(`{"version":1,"probers":[{"host":"127.0.0.1","age_ns":60000000000,"gaps_ns":[` +
				strings.Repeat(`60000000000,`, 7) + `60000000000]}]}`)); err != nil {
				t.Fatal(err)
			}
			addr := serve(t, s)
			s.Pull()
			for n := 1; n <= 3; n++ {
				if closed(s.Noticed()) {
					t.Errorf("noticed before failing answer %d", n)
				}
				exchange(t, addr, tc.request)
				if got := s.Probers(); len(got) != 1 || got[0].Failures != n {
					t.Errorf("after failing answer %d: %+v", n, got)
				}
			}
			if got := s.Probers(); !got[0].Noticed {
				t.Errorf("%+v: not noticed after three", got)
			}
		})
	}
}

func TestAPostToThePingPathIsNoProbe(t *testing.T) {
	s := newState(t, Config{})
	addr := serve(t, s)
	s.Pull()
	exchange(t, addr, "POST /ping HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
	if got := s.Probers(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
