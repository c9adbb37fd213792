package tlsconf

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
)

// Server is the TLS of one http.Server on one listener.
type Server struct {
	Config *tls.Config // of the listener; the keys of its tickets change
	HTTP1  bool        // the server speaks it
	// Chooses: the user's functions choose the certificate, and may want to know the name that the client asks for.
	Chooses bool

	client *tls.Config // of the self-check
}

// NewServer is for srv. Serves tells that srv serves already, on another listener.
func NewServer(srv *http.Server, serves bool, f Files) (*Server, error) {
	config := &tls.Config{}
	if srv.TLSConfig != nil {
		config = srv.TLSConfig.Clone()
	}
	s := &Server{Config: config, HTTP1: srv.Protocols == nil || srv.Protocols.HTTP1()}
	protos, err := nextProtos(srv, config, serves)
	if err != nil {
		return nil, err
	}
	config.NextProtos = protos
	if s.Chooses, err = f.serve(config); err != nil {
		return nil, err
	}
	exemptSelfCheck(config)
	s.client = selfClient(config, s.HTTP1)
	return s, nil
}

// Live returns a configuration for a server that does TLS by itself. It may be cloned, and goes on to change.
func Live(config *tls.Config, f Files) (*tls.Config, error) {
	if config == nil {
		config = &tls.Config{}
	}
	live := config.Clone()
	if _, err := f.serve(live); err != nil {
		return nil, err
	}
	returned, choose := live.Clone(), config.GetConfigForClient
	// a clone has the keys of its time
	returned.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if choose != nil {
			if chosen, err := choose(hello); chosen != nil || err != nil {
				return chosen, err
			}
		}
		return live, nil
	}
	return returned, nil
}

// Files are what one listener's configuration is kept fresh from.
type Files struct {
	Cert, Key string // PEM; both "" where the configuration knows its certificate
	Addr      net.Addr
	Tickets   *TicketKeys
	Log       *slog.Logger
}

// serve gives config its certificate and the keys of its tickets, now and later, and tells whether the user's functions
// choose the certificate.
func (f Files) serve(config *tls.Config) (chooses bool, err error) {
	known := len(config.Certificates) > 0 || config.GetCertificate != nil || config.GetConfigForClient != nil
	chooses = config.GetConfigForClient != nil
	own := hasTicketKeys(config)
	if f.Cert != "" || f.Key != "" || !known {
		c, err := newCertificate(f.Cert, f.Key, f.Log)
		if err != nil {
			return false, err
		}
		useCertificate(config, c)
	} else if config.GetCertificate != nil && len(config.Certificates) == 0 {
		chooses = true
	}
	name := f.Addr.Network() + " " + f.Addr.String()
	if config.ClientAuth != tls.NoClientCert || config.GetConfigForClient != nil {
		name += " " + rand.Text() // in this generation only
	}
	if !own && !config.SessionTicketsDisabled {
		f.Tickets.serve(ticketUser{config, name})
	}
	return chooses, nil
}

// useCertificate does what http.Server.ServeTLS does with files: a GetCertificate is asked first,
// for clients that name the server, and the files hold for all others.
func useCertificate(config *tls.Config, c *certificate) {
	choose := config.GetCertificate
	config.Certificates = nil
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if choose != nil && hello.ServerName != "" {
			if cert, err := choose(hello); cert != nil || err != nil {
				return cert, err
			}
		}
		return c.get(), nil
	}
}

// hasTicketKeys tells whether the user has given config keys for session tickets: by
// SetSessionTicketKeys, which leaves no other trace, or by the field that crypto/tls otherwise
// writes to itself.
func hasTicketKeys(config *tls.Config) bool {
	if keys := reflect.ValueOf(config).Elem().FieldByName("sessionTicketKeys"); keys.IsValid() &&
		keys.Kind() == reflect.Slice && keys.Len() > 0 {
		return true
	}
	//lint:ignore SA1019 users have it still
	return config.SessionTicketKey != [32]byte{} && !bytes.HasPrefix(config.SessionTicketKey[:], []byte("DEPRECATED"))
}

// nextProtos makes net/http set srv up for HTTP/2 or not, which it decides by more than can be seen
// from here, and returns the protocols to offer. It does so in the beginning of ServeTLS, which a
// file of this name then ends. For one that serves already it has decided.
func nextProtos(srv *http.Server, config *tls.Config, serves bool) ([]string, error) {
	const noFile = "\x00"
	if !serves {
		srv.TLSConfig = config.Clone() // net/http adds to it
	}
	if err := srv.ServeTLS(nil, noFile, noFile); !errors.As(err, new(*fs.PathError)) {
		return nil, err
	}
	protos := slices.Clone(config.NextProtos) // in the user's order, which is that of preference
	for _, p := range []struct {
		name string
		on   bool
	}{
		{"h2", srv.TLSNextProto["h2"] != nil && (srv.Protocols == nil || srv.Protocols.HTTP2())},
		{"http/1.1", srv.Protocols == nil || srv.Protocols.HTTP1()},
	} {
		switch {
		case !p.on:
			protos = slices.DeleteFunc(protos, func(name string) bool { return name == p.name })
		case !slices.Contains(protos, p.name):
			protos = append(protos, p.name)
		}
	}
	return protos, nil
}

// exemptSelfCheck lets the connections of this process to itself, which no other can make, do without a certificate.
func exemptSelfCheck(config *tls.Config) {
	choose := config.GetConfigForClient
	if choose == nil && config.ClientAuth == tls.NoClientCert {
		return
	}
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		var chosen *tls.Config
		if choose != nil {
			var err error
			if chosen, err = choose(hello); err != nil {
				return nil, err
			}
		}
		if hello.Conn.RemoteAddr().Network() != "pipe" {
			return chosen, nil
		}
		if chosen == nil {
			chosen = config
		}
		lax := chosen.Clone()
		lax.ClientAuth, lax.VerifyPeerCertificate, lax.VerifyConnection = tls.NoClientCert, nil, nil
		return lax, nil
	}
}

// selfClient can talk to a server of config, whatever that is restricted to. It asks for no session tickets: in a
// net.Pipe they would stand in the way of the request.
func selfClient(config *tls.Config, http1 bool) *tls.Config {
	c := &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}, //nolint:gosec // see listener.Set.Dial
		MinVersion: config.MinVersion, MaxVersion: config.MaxVersion,
		CipherSuites: config.CipherSuites, CurvePreferences: config.CurvePreferences,
	}
	if !http1 {
		c.NextProtos = []string{"h2"}
	}
	return c
}

// Handshake is the self-check's, as a client that asks for the server of that name. On an error nc stays open.
func (s *Server) Handshake(ctx context.Context, nc net.Conn, name string) (net.Conn, error) {
	c := s.client.Clone()
	c.ServerName = name
	tc := tls.Client(nc, c)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return tc, nil
}
