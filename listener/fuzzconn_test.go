//go:build unix

package listener

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// FuzzConn is a connection of HTTP/1 in every state, with what a peer may send, in pieces, and what may
// happen meanwhile. Nothing of it may panic, hang, or leave the connection behind; what the ledger has, it has once.
func FuzzConn(f *testing.F) {
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"), []byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"), []byte{0x10, 2, 0x21, 5})
	f.Add([]byte("\x16\x03\x01\x02\x00abc"), []byte{0x81, 2, 0, 6})
	f.Add([]byte("\r\n\r\nG"), []byte{0x40, 0x23, 7, 0})
	f.Add([]byte(h2frame.Preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), []byte{2, 3, 4})
	f.Fuzz(func(t *testing.T, sent, does []byte) {
		if len(does) == 0 || len(does) > 64 || len(sent) > 1<<16 {
			return
		}
		set := New(Config{})
		entries := make(chan Loss, 64)
		set.cfg.OnLoss = func(l Loss) { entries <- l }
		ln, err := set.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Skip(err)
		}
		so := ln.(*socket)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodConnect {
				if nc, _, err := http.NewResponseController(w).Hijack(); err == nil {
					_ = nc.Close()
				}
				return
			}
			_, _ = io.Copy(w, io.LimitReader(r.Body, 1<<10))
		})}
		set.Track(srv)
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = set.Serve(srv, fuzzed(does[0], ln))
		}()
		near, far := pair(t)
		c := &conn{Conn: far, set: set, sock: so, adopted: adoption{at: time.Now()}}
		c.adopted.idle.Store(does[0]&1 != 0) // adopted
		if !so.enqueue(c) {
			t.Fatal("closed")
		}
		go func() { _, _ = io.Copy(io.Discard, near.nc) }()
		left := make(chan error, 1)
		leaves := false
		for i, op := range does {
			n := min(len(sent), 1+int(op>>3))
			if i == len(does)-1 {
				n = len(sent)
			}
			_, _ = near.nc.Write(sent[:n])
			sent = sent[n:]
			switch op & 7 {
			case 2:
				if !leaves {
					leaves = true
					var handover Handover
					if op&8 != 0 {
						handover = func(t []Ticket, _ []syscall.Conn) ([]bool, error) {
							return make([]bool, len(t)), nil
						}
					}
					go func() { left <- set.Leave(t.Context(), handover, time.Duration(op)*time.Millisecond/8) }()
				}
			case 3:
				set.Hurry(time.Duration(op) * time.Microsecond)
			case 4:
				_ = near.nc.(*net.TCPConn).CloseWrite()
			case 5:
				c.interruptRead()
			case 6:
				set.Counts()
				c.inFlight()
			case 7:
				time.Sleep(time.Duration(op) * time.Microsecond)
			}
		}
		if leaves && does[len(does)-1]&1 != 0 {
			_ = near.nc.Close() // or what it was about to send would be waited for
			if err := <-left; err != nil {
				t.Error(err)
			}
		}
		set.Close()
		_ = srv.Close()
		<-served
		if n := set.Counts(); n.Lost > 1 && n.CutOff == 0 || n.CutOff > 1 ||
			int(n.Lost+n.Part+n.Junk) < len(entries)-int(n.CutOff) {
			t.Errorf("%+v, %d entries", n, len(entries))
		}
		for end := time.Now().Add(patience); set.Counts().Open() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("left behind: %+v", set.Counts())
			}
		}
	})
}

// fuzzed is the listener of a server, or one of those that wrap it.
func fuzzed(kind byte, ln net.Listener) net.Listener {
	wrap := func(w func(net.Conn) net.Conn) net.Listener { return wrapping{ln, w} }
	switch kind >> 6 {
	case 1:
		return wrap(func(nc net.Conn) net.Conn { return &limits{nc, nil} })
	case 2:
		return wrap(func(nc net.Conn) net.Conn { return tls.Server(nc, &tls.Config{}) })
	case 3:
		return wrap(piped)
	}
	return ln
}
