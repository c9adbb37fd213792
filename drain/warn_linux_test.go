package drain_test

import "testing"

// What the listeners warn of reaches the log, with the cure, in each generation: here of a server whose
// HTTP/2 can't be led.
func TestWarningsOfListenersReachTheLog(t *testing.T) {
	s := start(t, plan{})
	const warning = "HTTP/2 connections of an http.Server end with net/http's GOAWAY"
	if s.logged(warning) {
		t.Errorf("a usual server is warned of")
	}
	s.nextHas("HTTP/2 of its own")
	s.swap()
	s.eventually("the warning", func() bool { return s.logged(warning) && s.logged("golang.org/x/net v0.31.0") })
	s.stop()
}
