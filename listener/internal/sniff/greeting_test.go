package sniff

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// What a client has said, in one piece or byte by byte, tells whether a request can be under way.
func TestGreeting(t *testing.T) {
	const (
		v1 = "PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n"
		v2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x50"
		rq = "POST /x HTTP/1.1\r\nHost: x\r\n\r\n"
	)
	for text, want := range map[string]Said{
		"P": SaidPart, "PROX": SaidPart, v1[:9]: SaidPart, v1[:len(v1)-1]: SaidPart, v1: SaidHello,
		"\r": SaidPart, v2[:12]: SaidPart, v2[:16]: SaidPart, v2[:len(v2)-1]: SaidPart, v2: SaidHello,
		"\r\n\r\n": SaidPart, "\n": SaidHello, v1 + "\r\n": SaidHello,
		"G": SaidPart, "POST /": SaidPart, rq[:18]: SaidPart, rq[:len(rq)-1]: SaidPart,
		rq: SaidMore, rq + "x": SaidMore,
		v1 + "PO": SaidPart, v1 + rq: SaidMore, v2 + "G": SaidPart, v2 + rq: SaidMore,
		h2frame.Preface[:10]: SaidPart, h2frame.Preface[:20]: SaidPart, h2frame.Preface: SaidMore,
		"\x00": SaidJunk, "echo hello\n": SaidJunk, v1 + "\x00": SaidJunk,
		"PROXY " + strings.Repeat("x", 200): SaidPart,
		"GET /" + strings.Repeat("x", 9000): SaidPart, "GET /" + strings.Repeat("x", maxGreeting): SaidMore,
		"\x16": SaidPart, "\x16\x03\x01\x00\x01x": SaidPart, v1 + "\x16\x03": SaidPart,
	} {
		var whole, drips Greeting
		if got := whole.Feed([]byte(text)); got != want {
			t.Errorf("%.40q: %v, want %v", text, got, want)
		}
		var last Said
		for i := 0; i < len(text) && last != SaidMore; i++ {
			last = drips.Feed([]byte(text[i : i+1]))
		}
		if last != want {
			t.Errorf("%.40q byte by byte: %v, want %v", text, last, want)
		}
	}
}

// tapped has a copy of what is written.
type tapped struct {
	net.Conn
	wrote func([]byte)
}

func (t tapped) Write(p []byte) (int, error) {
	t.wrote(p)
	return t.Conn.Write(p)
}

// A handshake is none of a request, in either version of TLS; what follows is one.
func TestGreetingOfTLS(t *testing.T) {
	certs := httptest.NewUnstartedServer(nil)
	certs.StartTLS()
	defer certs.Close()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		near, far := net.Pipe()
		var g Greeting
		var all []Said
		tap := tapped{near, func(p []byte) {
			for _, b := range p {
				all = append(all, g.Feed([]byte{b}))
			}
		}}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(io.Discard, tls.Server(far, &tls.Config{Certificates: certs.TLS.Certificates}))
		}()
		client := tls.Client(tap, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		for i, s := range all[:len(all)-1] {
			if s != SaidPart {
				t.Fatalf("TLS %x: %v at byte %d of %d", version, s, i+1, len(all))
			}
		}
		if last := all[len(all)-1]; last != SaidHello {
			t.Errorf("TLS %x: %v behind the handshake", version, last)
		}
		n := len(all)
		if _, err := client.Write([]byte("G")); err != nil {
			t.Fatal(err)
		}
		if all[n+4] != SaidMore {
			t.Errorf("TLS %x: %v with the head of another record", version, all[n+4])
		}
		_ = near.Close()
		<-done
	}
}
