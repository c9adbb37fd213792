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
// swap, a handshake looks at them again, at most once a second, and reloads them if they have
// changed. If the pair does not fit, as when only one of the two has been replaced, that is logged.
// The old pair stays in use, and the files are tried again.
//
// Clients resume their sessions after a swap: the keys of the session tickets go to the next
// generation. The main generation adds a new key each day, as crypto/tls does by itself; a ticket is
// good for seven days. The keys are not passed on where srv.TLSConfig sets ClientAuth or
// GetConfigForClient: the new version may be stricter. Keys of its own, by SetSessionTicketKeys, and
// SessionTicketsDisabled are not touched.
//
// Connections with TLS 1.2 or 1.3, and AES-GCM, are handed over as those of Serve. For that, ln is Listen's,
// Config.KeepTLS is not set, and srv.TLSConfig sets no ClientAuth, GetConfigForClient or VerifyConnection. They go on
// where the next generation permits their version, suite and protocol. See listener.Set.TLSListener for what handlers
// and hooks see of them.
//
// Other connections end while this generation drains. An answer of HTTP/1.1 is the last on its connection and says so.
// A connection that has rested for Config.IdleGrace is closed. HTTP/2 ends by a GOAWAY. A client whose connections rest
// for less loses nothing.
//
// The self-check, Config.Check and the watchdog speak TLS too. They trust every certificate, have none themselves, and
// are asked for none. Only Config.Check names a server. Where srv.TLSConfig chooses the certificate by GetCertificate
// or GetConfigForClient, what these refuse to the self-check and the watchdog is no failure. Srv.TLSConfig is cloned:
// later changes of it have no effect.
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
