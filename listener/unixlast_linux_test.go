package listener

import (
	"errors"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// At the last stop a client of a unix socket is served or refused, and none is taken that nobody serves.
func TestUnixClientsAreServedOrRefusedAtTheEnd(t *testing.T) {
	for range 100 {
		set := New(Config{})
		ln := mustListen(t, set, "unix", filepath.Join(shortDir(t), "s"))
		set.Open()
		g := &generation{set: set, ln: ln}
		var served sync.WaitGroup
		served.Go(func() {
			for {
				nc, err := ln.Accept()
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("Accept: %v", err)
					}
					return
				}
				served.Go(func() {
					defer nc.Close()
					b := make([]byte, 1)
					if _, err := nc.Read(b); err == nil {
						_, _ = nc.Write(b)
					}
				})
			}
		})
		first := make(chan struct{}, 4)
		var clients sync.WaitGroup
		for range cap(first) {
			clients.Go(func() {
				for n := 0; ; n++ {
					nc, err := net.Dial("unix", ln.Addr().String())
					if err != nil {
						if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ENOENT) {
							t.Error(err)
						}
						return
					}
					b := []byte{'x'}
					if _, err = nc.Write(b); err == nil {
						_, err = nc.Read(b)
					}
					_ = nc.Close()
					if err != nil {
						t.Errorf("taken and not served: %v", err)
						return
					}
					if n == 0 {
						first <- struct{}{}
					}
				}
			})
		}
		for range cap(first) {
			<-first
		}
		g.depart(t, nil, 0)()
		clients.Wait()
		served.Wait()
	}
}
