package tlsconf

import (
	"crypto/tls"
	"net/http"
	"slices"
	"testing"
)

func TestProtocolsAreNetHTTPs(t *testing.T) {
	protocols := func(http1, http2 bool) *http.Protocols {
		p := new(http.Protocols)
		p.SetHTTP1(http1)
		p.SetHTTP2(http2)
		return p
	}
	for name, c := range map[string]struct {
		srv    *http.Server
		config *tls.Config
		want   []string
	}{
		"default": {&http.Server{}, &tls.Config{}, []string{"h2", "http/1.1"}},
		"the user's order": {&http.Server{}, &tls.Config{NextProtos: []string{"x", "http/1.1"}},
			[]string{"x", "http/1.1", "h2"}},
		"HTTP/1 only": {&http.Server{Protocols: protocols(true, false)},
			&tls.Config{NextProtos: []string{"h2"}}, []string{"http/1.1"}},
		"HTTP/2 only": {&http.Server{Protocols: protocols(false, true)}, &tls.Config{}, []string{"h2"}},
		"the old way to have it": {&http.Server{TLSNextProto: map[string]func(*http.Server, *tls.Conn,
			http.Handler){}}, &tls.Config{}, []string{"http/1.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(c.config.NextProtos)
			got, err := nextProtos(c.srv, c.config, false)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
			if !slices.Equal(c.config.NextProtos, before) {
				t.Errorf("changed to %q", c.config.NextProtos)
			}
		})
	}
	bad := &tls.Config{CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}, MaxVersion: tls.VersionTLS12}
	if got, err := nextProtos(&http.Server{}, bad, false); err == nil {
		t.Errorf("%q; want an error: HTTP/2 can't do with these cipher suites", got)
	}
}

func TestTicketKeysOfTheUser(t *testing.T) {
	set := new(tls.Config)
	set.SetSessionTicketKeys([][32]byte{{1}})
	others := [32]byte([]byte("DEPRECATED and then some bytes..."))
	for name, c := range map[string]struct {
		config *tls.Config
		want   bool
	}{
		"none":            {&tls.Config{}, false},
		"set":             {set, true},
		"set, and cloned": {set.Clone(), true},
		//lint:ignore SA1019 users have it still
		"field": {&tls.Config{SessionTicketKey: [32]byte{1}}, true},
		//lint:ignore SA1019 crypto/tls writes it
		"made by the other": {&tls.Config{SessionTicketKey: others}, false},
	} {
		if got := hasTicketKeys(c.config); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
