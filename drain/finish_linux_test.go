package drain

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/baton-go/baton/drain/internal/machine"
)

// slowToClose is a listener that a program has put around the service's.
type slowToClose struct {
	net.Listener
	closes, goOn chan struct{}
}

func (l slowToClose) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		<-l.goOn
	}
	return nc, err
}

func (l slowToClose) Close() error {
	l.closes <- struct{}{}
	<-l.goOn
	return l.Listener.Close()
}

// What a program has put around its listeners may take its time at the end. Questions are answered meanwhile, and no
// work is taken.
func TestTheEndHoldsNobodyUp(t *testing.T) {
	s, ln := alone(t, machine.Starting)
	defer s.endTest()
	slow := slowToClose{ln, make(chan struct{}, 1), make(chan struct{})}
	srv := &http.Server{}
	if !s.servers.add(server{Server: srv, ln: slow}) {
		t.Fatal("the service is over")
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(slow) }()
	nc, err := s.set.Dial(ln)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(nc, "GET / HTTP/1.0\r\n\r\n")
	_, _ = io.ReadAll(nc) // Serve has begun
	_ = nc.Close()
	if !s.run.post(machine.ServerFailed{Err: errors.New("fails")}) {
		t.Fatal("it has ended")
	}
	<-slow.closes
	if st := s.Status(); st.Phase != Stopped || isClosed(s.run.ended) {
		t.Errorf("%s; has ended: %v", st.Phase, isClosed(s.run.ended))
	}
	if err := s.Lead("late", nil); !errors.Is(err, ErrStopped) {
		t.Errorf("Lead: %v", err)
	}
	if err := s.Pull(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Pull: %v", err)
	}
	if isClosed(s.run.ended) {
		t.Error("it has ended by now")
	}
	close(slow.goOn)
	<-served
	<-s.run.over
	if err := s.run.state.Result; err == nil || err.Error() != "fails" {
		t.Errorf("%v", err)
	}
}
