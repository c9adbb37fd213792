//go:build unix

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestBalancerThresholds(t *testing.T) {
	for _, tt := range []struct {
		name       string
		fall, rise int
		probes     string // + good, - bad
		states     string // after each: i in, o out
	}{
		{"the first probe is believed", 3, 2, "+", "i"},
		{"three in a row take it out", 3, 1, "+---", "iiio"},
		{"two are not enough", 3, 1, "+--+--+", "iiiiiii"},
		{"one brings it back", 3, 1, "+---+", "iiioi"},
		{"two bring it back", 3, 2, "+---++", "iiiooi"},
		{"the two must be in a row", 3, 2, "+---+-++", "iiiooooi"},
		{"it starts out", 3, 2, "-++", "ooi"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changes := 0
			b := newBalancer("", nil, func(bool) { changes++ })
			b.fall, b.rise = tt.fall, tt.rise
			var got strings.Builder
			for _, p := range tt.probes {
				b.observe(p == '+')
				got.WriteByte(map[bool]byte{true: 'i', false: 'o'}[b.in.Load()])
			}
			if got.String() != tt.states {
				t.Errorf("probes %s: %s, want %s", tt.probes, &got, tt.states)
			}
			want := 0
			for i, s := range "o" + tt.states[:len(tt.states)-1] {
				if byte(s) != tt.states[i] {
					want++
				}
			}
			if changes != want {
				t.Errorf("%d changes were reported, want %d", changes, want)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	code := http.StatusOK
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ping" {
			t.Errorf("probe of %s", r.URL)
		}
		if code == 0 {
			<-hang
			return
		}
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(code)
	}))
	defer s.Close()
	defer close(hang)
	b := newBalancer(s.Listener.Addr().String(), nil, nil)
	b.timeout = time.Minute // no busy machine's
	for _, tt := range []struct {
		code int
		want bool
	}{{200, true}, {501, false}, {503, false}, {200, true}, {0, false}} {
		code = tt.code
		if tt.code == 0 {
			b.timeout = 50 * time.Millisecond
		}
		if got := b.probe(); got != tt.want {
			t.Errorf("probe with status %d: %v", tt.code, got)
		}
	}
	b.addr = "127.0.0.1:1"
	if b.probe() {
		t.Error("a probe that finds nobody is good")
	}
}
