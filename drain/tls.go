package drain

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"reflect"
	"slices"
)

// ServeTLS is Serve over TLS, with HTTP/2 where srv.Protocols and the client want it. The files hold a certificate, with
// those of its issuers, and its key, in PEM. Both are "" where srv.TLSConfig knows the certificate. An error, as of files
// that do not fit, names them; nothing is served then, and ln is the caller's.
//
// Each generation reads the files, so that a swap to a pair that can't be used fails. Without a swap they are looked at
// again at a handshake, at most once a second, and read where they have changed; a pair that does not fit, as when one of
// the two has been replaced, leaves the old one in use, is logged, and tried again.
//
// Clients resume their sessions after a swap: the keys of the session tickets go to the next generation, and the main
// one adds a new one each day, as crypto/tls does by itself; a ticket is good for seven days. They do not go along, since a
// new version may demand other things of its clients, where srv.TLSConfig has a ClientAuth or a GetConfigForClient; and
// they are left alone where it has keys of its own, by SetSessionTicketKeys, or SessionTicketsDisabled.
//
// The connections are not handed over: while this generation drains, an answer of HTTP/1.1 is the last on its connection
// and says so, and a connection that has rested for Config.IdleGrace is closed. A client whose connections rest for less
// loses nothing.
//
// The self-check, Config.Check and the watchdog speak TLS too. They trust every certificate, have none themselves, and are
// asked for none; but for Config.Check they name no server, and where srv.TLSConfig chooses the certificate by
// GetCertificate or GetConfigForClient, what these refuse to them is no failure. Srv.TLSConfig is cloned: changes of it have no effect any more.
//
// Not promised: that sessions are resumed after a stop, or a crash, by the process that is started then.
func (s *Service) ServeTLS(ln net.Listener, srv *http.Server, certFile, keyFile string) error {
	s.served.Lock()
	sec, err := s.secure(ln, srv, certFile, keyFile)
	if err == nil {
		s.prepare(srv)
	}
	s.served.Unlock()
	if err != nil {
		err = fmt.Errorf("drain: ServeTLS %v: %w", ln.Addr(), err)
		s.confide(err)
		return err
	}
	s.serve(server{srv, ln, sec}, tls.NewListener(ln, sec.config))
	return nil
}

// TLSConfig is for servers that do TLS by themselves, as those of gRPC: what it returns is made of config, which may be
// nil, and of the files, and does on ln what ServeTLS says of certificates and of session tickets. It may be cloned, and ln
// should be Listen's. What config doesn't say, NextProtos for one, can't be added later: gRPC's is []string{"h2"}.
func (s *Service) TLSConfig(ln net.Listener, config *tls.Config, certFile, keyFile string) (*tls.Config, error) {
	if config == nil {
		config = &tls.Config{}
	}
	live := config.Clone()
	if _, err := s.keepFresh(ln, live, certFile, keyFile); err != nil {
		err = fmt.Errorf("drain: TLSConfig %v: %w", ln.Addr(), err)
		s.confide(err)
		return nil, err
	}
	returned, choose := live.Clone(), config.GetConfigForClient
	returned.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { // a clone has the keys of its time
		if choose != nil {
			if chosen, err := choose(hello); chosen != nil || err != nil {
				return chosen, err
			}
		}
		return live, nil
	}
	return returned, nil
}

// secured is what a server has that speaks TLS.
type secured struct {
	config  *tls.Config // of the listener; the keys of its tickets change
	client  *tls.Config // of the self-check
	http1   bool
	choosey bool // the user's functions choose the certificate, and may want to know the name that the client is after
}

func (s *Service) secure(ln net.Listener, srv *http.Server, certFile, keyFile string) (*secured, error) {
	config := &tls.Config{}
	if srv.TLSConfig != nil {
		config = srv.TLSConfig.Clone()
	}
	sec := &secured{config: config, http1: srv.Protocols == nil || srv.Protocols.HTTP1()}
	_, serves := s.served.all[srv]
	protos, err := nextProtos(srv, config, serves)
	if err != nil {
		return nil, err
	}
	config.NextProtos = protos
	if sec.choosey, err = s.keepFresh(ln, config, certFile, keyFile); err != nil {
		return nil, err
	}
	askNothingOfUs(config)
	sec.client = selfClient(config, sec.http1)
	return sec, nil
}

// keepFresh gives config its certificate and the keys of its tickets, now and later, and tells whether the user's
// functions choose the certificate.
func (s *Service) keepFresh(ln net.Listener, config *tls.Config, certFile, keyFile string) (choosey bool, err error) {
	known := len(config.Certificates) > 0 || config.GetCertificate != nil || config.GetConfigForClient != nil
	choosey = config.GetConfigForClient != nil
	own := hasTicketKeys(config)
	if certFile != "" || keyFile != "" || !known {
		c, err := newCertificate(certFile, keyFile, s.cfg.Logger)
		if err != nil {
			return false, err
		}
		useCertificate(config, c)
	} else if config.GetCertificate != nil && len(config.Certificates) == 0 {
		choosey = true
	}
	name := ln.Addr().Network() + " " + ln.Addr().String()
	if config.ClientAuth != tls.NoClientCert || config.GetConfigForClient != nil {
		name += " " + rand.Text() // in this generation only
	}
	if !own && !config.SessionTicketsDisabled {
		s.tickets.serve(ticketUser{config, name})
	}
	return choosey, nil
}

// useCertificate does what http.Server.ServeTLS does with files: a GetCertificate is asked first, for clients that name the
// server, and the files hold for all others.
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

// hasTicketKeys tells whether the user has given config keys for session tickets: by SetSessionTicketKeys, which leaves no
// other trace, or by the field that crypto/tls otherwise writes to itself.
func hasTicketKeys(config *tls.Config) bool {
	if keys := reflect.ValueOf(config).Elem().FieldByName("sessionTicketKeys"); keys.IsValid() && keys.Kind() == reflect.Slice && keys.Len() > 0 {
		return true
	}
	//lint:ignore SA1019 users have it still
	return config.SessionTicketKey != [32]byte{} && !bytes.HasPrefix(config.SessionTicketKey[:], []byte("DEPRECATED"))
}

// nextProtos makes net/http set srv up for HTTP/2 or not, which it decides by more than can be seen from here, and returns
// the protocols to offer. It does so in the beginning of ServeTLS, which a file of this name then ends. For one that serves
// already it has decided.
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

// askNothingOfUs lets the connections of this process to itself, which no other can make, do without a certificate.
func askNothingOfUs(config *tls.Config) {
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
		InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}, //nolint:gosec // it is this process, see listener.Set.Dial
		MinVersion: config.MinVersion, MaxVersion: config.MaxVersion,
		CipherSuites: config.CipherSuites, CurvePreferences: config.CurvePreferences,
	}
	if !http1 {
		c.NextProtos = []string{"h2"}
	}
	return c
}

// shake does the handshake on nc, which is left open on errors, as a client that is after the server of that name.
func (sec *secured) shake(ctx context.Context, nc net.Conn, name string) (net.Conn, error) {
	c := sec.client.Clone()
	c.ServerName = name
	tc := tls.Client(nc, c)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return tc, nil
}
