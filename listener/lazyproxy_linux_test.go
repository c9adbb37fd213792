package listener

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// lazy reads the header of the PROXY protocol when somebody reads first, as most such listeners do.
type lazy struct {
	net.Conn
	br   *bufio.Reader
	once sync.Once
}

func (l *lazy) Read(p []byte) (int, error) {
	l.once.Do(func() {
		if b, _ := l.br.Peek(1); len(b) == 1 && b[0] == '\r' {
			_, _ = l.br.Discard(16 + 12)
		} else if len(b) == 1 {
			_, _ = l.br.ReadString('\n')
		}
	})
	return l.br.Read(p)
}

// A header of the PROXY protocol, in whichever pieces it comes, begins no request: an idle client behind a
// balancer loses nothing. What it has begun behind the header counts as ever.
func TestLazyProxyHeaderIsNoPart(t *testing.T) {
	t.Parallel()
	const v1 = "PROXY TCP4 127.0.0.1 127.0.0.1 1111 2222\r\n"
	const v2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x04\x57\x08\xae"
	config := certified("http/1.1")
	for _, encrypted := range []bool{false, true} {
		for _, x := range []struct {
			says   []string
			shakes bool // and is idle, in TLS; or asks, and is idle
			part   int64
		}{
			{nil, false, 0}, {[]string{v1}, false, 0}, {[]string{v2}, false, 0}, {[]string{v1[:3], v1[3:]}, false, 0},
			{[]string{v2[:5], v2[5:20], v2[20:]}, false, 0}, {[]string{v1[:1], v1[1:]}, true, 0},
			{[]string{v1}, true, 0}, {[]string{v2[:13], v2[13:]}, true, 0}, {[]string{v2}, true, 0},
			{[]string{v1[:20]}, false, 1}, {[]string{v2[:20]}, false, 1}, {[]string{v2[:3]}, false, 1},
			{[]string{v1 + "\x16\x03"}, false, 1}, {[]string{v2, "\x16\x03\x01"}, false, 1},
		} {
			one := next(t, nil, &http.Server{}, func(ln net.Listener) net.Listener {
				ln = wrapping{ln, func(nc net.Conn) net.Conn { return &lazy{Conn: nc, br: bufio.NewReader(nc)} }}
				if encrypted {
					return tls.NewListener(ln, config)
				}
				return ln
			})
			c := dial(t, one)
			for _, s := range x.says {
				c.send(s)
				one.await(t, "not read", func(n Counts) bool { return n.Open() == 1 && one.unread() == 0 })
			}
			if x.shakes {
				if encrypted {
					tc := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true})
					check(t, tc.Handshake())
					c = &client{t, tc, bufio.NewReader(tc)}
				}
				c.ask("a")
				one.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 })
			}
			one.await(t, "not there", func(n Counts) bool { return n.Open() == 1 && n.Other == 0 })
			one.depart(t, nil, 20*time.Millisecond)()
			_, _ = io.ReadAll(c.nc)
			if n := one.set.Counts(); n.Lost+n.CutOff+n.Junk != 0 || n.Part != x.part {
				t.Errorf("TLS %v, %q, request %v: %+v", encrypted, x.says, x.shakes, n)
			}
		}
	}
}
