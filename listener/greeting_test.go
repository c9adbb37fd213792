package listener

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
)

// What a client has said, in one piece or byte by byte, tells whether a request can be under way.
func TestGreeting(t *testing.T) {
	const (
		v1 = "PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n"
		v2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x50"
		rq = "POST /x HTTP/1.1\r\nHost: x\r\n\r\n"
	)
	for text, want := range map[string]said{
		"P": saidPart, "PROX": saidPart, v1[:9]: saidPart, v1[:len(v1)-1]: saidPart, v1: saidHello,
		"\r": saidPart, v2[:12]: saidPart, v2[:16]: saidPart, v2[:len(v2)-1]: saidPart, v2: saidHello,
		"\r\n\r\n": saidPart, "\n": saidHello, v1 + "\r\n": saidHello,
		"G": saidPart, "POST /": saidPart, rq[:18]: saidPart, rq[:len(rq)-1]: saidPart, rq: saidMore, rq + "x": saidMore,
		v1 + "PO": saidPart, v1 + rq: saidMore, v2 + "G": saidPart, v2 + rq: saidMore,
		preface[:10]: saidPart, preface[:20]: saidPart, preface: saidMore,
		"\x00": saidJunk, "echo hello\n": saidJunk, v1 + "\x00": saidJunk, "PROXY " + strings.Repeat("x", 200): saidPart,
		"GET /" + strings.Repeat("x", 9000): saidPart, "GET /" + strings.Repeat("x", maxGreeting): saidMore,
		"\x16": saidPart, "\x16\x03\x01\x00\x01x": saidPart, v1 + "\x16\x03": saidPart,
	} {
		var whole, drips greeting
		if got := whole.feed([]byte(text)); got != want {
			t.Errorf("%.40q: %v, want %v", text, got, want)
		}
		var last said
		for i := 0; i < len(text) && last != saidMore; i++ {
			last = drips.feed([]byte(text[i : i+1]))
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
		var g greeting
		var all []said
		tap := tapped{near, func(p []byte) {
			for _, b := range p {
				all = append(all, g.feed([]byte{b}))
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
			if s != saidPart {
				t.Fatalf("TLS %x: %v at byte %d of %d", version, s, i+1, len(all))
			}
		}
		if last := all[len(all)-1]; last != saidHello {
			t.Errorf("TLS %x: %v behind the handshake", version, last)
		}
		n := len(all)
		if _, err := client.Write([]byte("G")); err != nil {
			t.Fatal(err)
		}
		if all[n+4] != saidMore {
			t.Errorf("TLS %x: %v with the head of another record", version, all[n+4])
		}
		_ = near.Close()
		<-done
	}
}
