package drain

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"

	"github.com/baton-go/baton/drain/internal/tlsconf"
)

// ServeTLS is Serve over TLS, with HTTP/2 where srv.Protocols and the client want it. The files
// hold a certificate, with those of its issuers, and its key, in PEM. Both are "" where
// srv.TLSConfig knows the certificate. An error, as of files that do not fit, names them; nothing
// is served then, and ln is the caller's.
//
// Each generation reads the files, so that a swap to a pair that can't be used fails. Without a
// swap they are looked at again at a handshake, at most once a second, and read where they have
// changed; a pair that does not fit, as when one of the two has been replaced, leaves the old one
// in use, is logged, and tried again.
//
// Clients resume their sessions after a swap: the keys of the session tickets go to the next
// generation. The main generation adds a new key each day, as crypto/tls does by itself; a ticket is
// good for seven days. The keys are not passed on where srv.TLSConfig sets ClientAuth or
// GetConfigForClient: the new version may be stricter. Keys of its own, by SetSessionTicketKeys, and
// SessionTicketsDisabled are not touched.
//
// Connections with TLS 1.2 or 1.3, and AES-GCM, are handed over as those of Serve, where ln is
// Listen's and Config.KeepTLS is not set, and go on where the next generation permits their version,
// suite and protocol; see listener.Set.TLSListener for what handlers and hooks see of them. Others are
// not, nor those where srv.TLSConfig has a ClientAuth, a GetConfigForClient or a VerifyConnection:
// while this generation drains, an answer of HTTP/1.1 is the last on its connection and says so, and
// a connection that has rested for Config.IdleGrace is closed; HTTP/2 ends by a GOAWAY. A client whose
// connections rest for less loses nothing.
//
// The self-check, Config.Check and the watchdog speak TLS too. They trust every certificate, have
// none themselves, and are asked for none; but for Config.Check they name no server, and where
// srv.TLSConfig chooses the certificate by GetCertificate or GetConfigForClient, what these refuse
// to them is no failure. Srv.TLSConfig is cloned: changes of it have no effect any more.
//
// Not promised: that sessions are resumed after a stop, or a crash, by the process that is started then.
func (s *Service) ServeTLS(ln net.Listener, srv *http.Server, certFile, keyFile string) error {
	s.servers.Lock()
	sec, err := tlsconf.NewServer(srv, s.servers.known[srv], s.files(ln, certFile, keyFile))
	if err == nil {
		s.prepare(srv)
	}
	s.servers.Unlock()
	if err != nil {
		err = fmt.Errorf("drain: ServeTLS %v: %w", ln.Addr(), err)
		s.reportStartFailure(err)
		return err
	}
	s.serve(server{srv, ln, sec}, s.set.TLSListener(srv, ln, sec.Config))
	return nil
}

// TLSConfig is for servers that do TLS by themselves, as those of gRPC. It returns a configuration that is made of
// config, which may be nil, and of the files. On ln, which should be Listen's, it does what ServeTLS says of
// certificates and of session tickets. It may be cloned. What config does not set, such as NextProtos, can't be added
// later: gRPC's is []string{"h2"}.
//
// An error names the files that are missing or do not fit. A child also reports it to the generation that has started
// it, whose swap fails.
func (s *Service) TLSConfig(ln net.Listener, config *tls.Config, certFile, keyFile string) (*tls.Config, error) {
	live, err := tlsconf.Live(config, s.files(ln, certFile, keyFile))
	if err != nil {
		err = fmt.Errorf("drain: TLSConfig %v: %w", ln.Addr(), err)
		s.reportStartFailure(err)
		return nil, err
	}
	return live, nil
}

func (s *Service) files(ln net.Listener, certFile, keyFile string) tlsconf.Files {
	return tlsconf.Files{Cert: certFile, Key: keyFile, Addr: ln.Addr(), Tickets: s.tickets, Log: s.cfg.Logger}
}
