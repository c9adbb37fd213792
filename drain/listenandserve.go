package drain

import (
	"context"
	"net/http"
	"os"
)

// ListenAndServe runs h as a whole service on the TCP address, with the zero Config. When the service has been stopped, or
// replaced, cleanly, the process exits with 0, so that log.Fatal around it does not report an error; otherwise
// ListenAndServe returns the error.
func ListenAndServe(address string, h http.Handler) error {
	s, err := New(Config{})
	if err != nil {
		return err
	}
	ln, err := s.Listen("tcp", address)
	if err != nil {
		return s.abandon(err)
	}
	s.Serve(ln, &http.Server{Handler: h})
	if err := s.Run(context.Background()); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}

// abandon ends a service that could not be set up, and lets the parent know why.
func (s *Service) abandon(err error) error {
	s.call(func() { s.fail(err) })
	return err
}
