package identity

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"unsafe"
)

func TestForWhomARequestWasForwarded(t *testing.T) {
	inside := Networks{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tc := range []struct {
		name, value string
		via         string
		inside      bool
	}{
		{"Accept", "*/*", "", true},
		{"X-Forwarded-For", "198.51.100.7, 10.1.1.1", "10.1.1.1", true},
		{"X-Forwarded-For", "10.1.1.1, 198.51.100.7", "198.51.100.7", false},
		{"X-Forwarded-For", "[2001:db8::1]:80", "[2001:db8::1]:80", false},
		{"X-Forwarded-For", "10.1.1.1:80", "10.1.1.1:80", true},
		{"X-Forwarded-For", "::ffff:10.1.1.1", "::ffff:10.1.1.1", true},
		{"X-Forwarded-For", "10.1.1.1,", "?", false},
		{"X-Forwarded-For", "", "?", false},
		{"X-Real-Ip", " 10.1.1.1 ", "10.1.1.1", true},
		{"Via", "1.1 10.1.1.1", "?", false},
		{"Forwarded", "for=10.1.1.1", "?", false},
	} {
		r := httptest.NewRequest("GET", "/ping", nil)
		r.RemoteAddr = "10.0.0.1:4711"
		r.Header.Set(tc.name, tc.value)
		for _, n := range []Networks{nil, inside} {
			id, ok := n.Request(r)
			if want := n == nil || tc.inside; id.Host != "10.0.0.1" || id.Via != tc.via || ok != want {
				t.Errorf("%s: %q: %+v, %v; want it for %q, %v", tc.name, tc.value, id, ok, tc.via, want)
			}
		}
	}
}

// Two versions compare forms, so the sum of the names must not change.
func TestAFormHasTheNamesOfTheHeadersInAnyOrder(t *testing.T) {
	r := httptest.NewRequest("HEAD", "http://example.com/ping", nil)
	for _, name := range []string{"User-Agent", "Accept", "Connection"} {
		r.Header.Set(name, "any")
	}
	id, _ := Networks(nil).Request(r)
	if got, want := id.Form.String(), `HEAD HTTP/1.1 "example.com" 39f2e937`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := (Form{}).String(); got != "" {
		t.Errorf("no form: %q", got)
	}
}

func TestAnIdentityIsBounded(t *testing.T) {
	r := httptest.NewRequest("GET", "/ping", nil)
	long := strings.Repeat("é\xff", MaxText)
	r.RemoteAddr, r.Host = long+":1", long
	r.Header.Set("User-Agent", long)
	r.Header.Set("X-Forwarded-For", long)
	id, _ := Networks(nil).Request(r)
	if clone := id.Clone(); clone != id || !clone.Bounded() {
		t.Errorf("%+v became %+v", id, clone)
	}
	for _, s := range id.texts() {
		was := *s
		if *s = long; id.Bounded() {
			t.Errorf("%+v is bounded", id)
		}
		*s = was
	}
}

// A prober is kept for as long as it comes: what it keeps of its request must be small.
func TestACloneHoldsOnToNoRequest(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	id := ID{large[:1], large[1:2], large[2:3], Form{large[3:4], large[4:5], large[5:6], 7}, large[6:7]}
	c := id.Clone()
	of := id.texts()
	for i, s := range c.texts() {
		if unsafe.StringData(*s) == unsafe.StringData(*of[i]) {
			t.Errorf("text %d is a part of the request's", i)
		}
	}
	if c != id {
		t.Errorf("%+v, want %+v", c, id)
	}
}
