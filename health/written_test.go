package health

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// writer is a ResponseWriter that looks at what happens when it is flushed.
type writer struct {
	header http.Header
	flush  func() error
}

func (w writer) Header() http.Header         { return w.header }
func (w writer) WriteHeader(int)             {}
func (w writer) Write(p []byte) (int, error) { return len(p), nil }
func (w writer) FlushError() error           { return w.flush() }

// failing returns a State that is pulled, and waits for one failing answer to a balancer.
func failing(t *testing.T) *State {
	t.Helper()
	s := newState(t, Config{Failures: 1})
	probe(s, balancer)
	s.Pull()
	return s
}

func TestAFailingAnswerCountsOnceItIsWritten(t *testing.T) {
	s := failing(t)
	s.ServeHTTP(writer{http.Header{}, func() error {
		if p := s.Probers()[0]; p.Failures != 0 {
			t.Error("it counted before it was flushed")
		}
		return nil
	}}, request("GET", balancer, "balancer/1"))
	if p := s.Probers()[0]; p.Failures != 1 || !p.Noticed {
		t.Errorf("%+v: it did not count when it had been flushed", p)
	}
}

func TestAFailingAnswerThatCannotBeWrittenDoesNotCount(t *testing.T) {
	s := failing(t)
	s.ServeHTTP(writer{http.Header{}, func() error { return errors.New("broken pipe") }},
		request("GET", balancer, "balancer/1"))
	if p := s.Probers()[0]; p.Failures != 0 || p.Noticed {
		t.Errorf("%+v: it counted", p)
	}
}

func TestAFailingAnswerCountsWithoutFlush(t *testing.T) {
	s := failing(t)
	w := struct{ http.ResponseWriter }{httptest.NewRecorder()} // hides Flush
	s.ServeHTTP(w, request("GET", balancer, "balancer/1"))
	if p := s.Probers()[0]; p.Failures != 1 || !p.Noticed {
		t.Errorf("%+v: it did not count", p)
	}
}

func TestAFailingAnswerDoesNotCountForALaterPull(t *testing.T) {
	s := failing(t)
	s.ServeHTTP(writer{http.Header{}, func() error {
		s.Restore()
		s.Pull()
		return nil
	}}, request("GET", balancer, "balancer/1"))
	if p := s.Probers()[0]; p.Failures != 0 || p.Noticed {
		t.Errorf("%+v: the second pull was noticed by an answer of the first", p)
	}
}
