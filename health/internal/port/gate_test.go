package port

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestAGateIsAsItWasLastTold(t *testing.T) {
	hold, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := hold.Addr().String()
	_ = hold.Close()
	opened, came := make(chan struct{}, 1), make(chan struct{}, 1)
	g := NewGate(func() (net.Listener, error) { return net.Listen("tcp", addr) }, func() { opened <- struct{}{} })
	served := make(chan error, 1)
	go func() {
		served <- g.Serve(func(net.Conn) func() {
			return func() { came <- struct{}{} }
		})
	}()
	refused := func(when string) {
		t.Helper()
		if nc, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("%s: connecting: %v, %v; want it to be refused", when, nc, err)
		}
	}
	for range 3 {
		<-opened
		nc, err := net.DialTimeout("tcp", addr, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.Close()
		<-came
		g.Shut()
		refused("shut")
		g.Shut()
		refused("shut twice")
		g.Reopen()
		g.Reopen()
	}
	<-opened
	g.Close()
	refused("closed")
	g.Close()
	g.Reopen()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if ln, err := g.Open(); ln != nil || err != nil {
		t.Errorf("Open after Close: %v, %v", ln, err)
	}
}
