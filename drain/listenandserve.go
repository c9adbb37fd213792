package drain

import (
	"context"
	"net"
	"net/http"
	"time"
)

// headerTimeout is well below the default DrainTimeout: a port scan, or TLS at the wrong port, is half a request, and a
// stop waits for the rest.
const headerTimeout = 10 * time.Second

// ListenAndServe runs h as a whole service on the TCP address, with the zero Config. A client has
// 10s for the header of a request.
//
// It returns what Service.Run returns: nil when the service has been stopped, or replaced, cleanly.
// http.ListenAndServe never returns nil. A log.Fatal around this one would end a clean stop with exit
// code 1, so check the error first:
//
//	if err := drain.ListenAndServe(":8080", handler); err != nil {
//		log.Fatal(err)
//	}
func ListenAndServe(address string, h http.Handler) error {
	return listenAndServe(address, h, func(s *Service, ln net.Listener, srv *http.Server) error {
		s.Serve(ln, srv)
		return nil
	})
}

// ListenAndServeTLS is ListenAndServe over TLS: see Service.ServeTLS.
func ListenAndServeTLS(address, certFile, keyFile string, h http.Handler) error {
	return listenAndServe(address, h, func(s *Service, ln net.Listener, srv *http.Server) error {
		return s.ServeTLS(ln, srv, certFile, keyFile)
	})
}

func listenAndServe(address string, h http.Handler, serve func(*Service, net.Listener, *http.Server) error) error {
	s, err := New(Config{})
	if err != nil {
		return err
	}
	ln, err := s.Listen("tcp", address)
	if err != nil {
		return s.Fail(err)
	}
	if err := serve(s, ln, &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout}); err != nil {
		return s.Fail(err)
	}
	return s.Run(context.Background())
}
