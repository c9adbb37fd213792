//go:build unix

package listener

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wrapping is a listener that makes something else of each connection.
type wrapping struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (w wrapping) Accept() (net.Conn, error) {
	nc, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return w.wrap(nc), nil
}

// detached accepts in a goroutine of its own, and reads a line before it lets anybody know, as listeners for the PROXY
// protocol and multiplexers do.
func detached(ln net.Listener) net.Listener {
	type accepted struct {
		nc  net.Conn
		err error
	}
	out := make(chan accepted)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				out <- accepted{err: err}
				return
			}
			go func() {
				br := bufio.NewReader(nc)
				if _, err := br.ReadString('\n'); err != nil {
					_ = nc.Close()
					return
				}
				out <- accepted{nc: ahead{nc, br}}
			}()
		}
	}()
	return acceptor{ln, func() (net.Conn, error) { a := <-out; return a.nc, a.err }}
}

type acceptor struct {
	net.Listener
	accept func() (net.Conn, error)
}

func (a acceptor) Accept() (net.Conn, error) { return a.accept() }

type (
	embeds struct{ net.Conn }
	limits struct {
		net.Conn
		release func()
	}
	ahead struct {
		net.Conn
		br *bufio.Reader
	}
)

func (a ahead) Read(p []byte) (int, error) { return a.br.Read(p) }

// deaf takes deadlines and does nothing with them.
type deaf struct{ net.Conn }

func (deaf) SetDeadline(time.Time) error      { return nil }
func (deaf) SetReadDeadline(time.Time) error  { return nil }
func (deaf) SetWriteDeadline(time.Time) error { return nil }

// A wrapper that swallows deadlines makes no two connections of one, over TCP and unix sockets.
func TestDeafWrapperCountsOnce(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "s")
		}
		set, entered := New(Config{}), make(chan bool, 5)
		ln, release := mustListen(t, set, network, address), make(chan struct{})
		srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			entered <- true
			<-release
		})}
		set.Track(srv)
		set.Open()
		go func() {
			_ = set.Serve(srv, wrapping{ln, func(nc net.Conn) net.Conn { return &deaf{nc} }})
		}()
		for range cap(entered) {
			nc := dialTo(t, ln.Addr())
			mustWrite(t, nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			<-entered
		}
		if n := set.Counts(); n.Open() != cap(entered) || n.Active != cap(entered) {
			t.Errorf("%s: %+v", network, n)
		}
		set.Close()
		if n := set.Counts(); n.CutOff != int64(cap(entered)) || n.Lost != int64(cap(entered)) || n.Part+n.Junk != 0 {
			t.Errorf("%s: %+v", network, n)
		}
		close(release)
	}
}

// timed is how idle timeouts are written most often.
type timed struct{ net.Conn }

func (c *timed) Read(p []byte) (int, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(time.Minute))
	return c.Conn.Read(p)
}

// tagged can't be compared.
type tagged struct {
	net.Conn
	tags []string
}

// piped is another connection altogether.
func piped(nc net.Conn) net.Conn {
	near, far := net.Pipe()
	for _, way := range [][2]net.Conn{{nc, far}, {far, nc}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			_ = nc.Close()
			_ = far.Close()
		}()
	}
	return near
}

// What wraps a connection, and however it came, the set knows what it does: it is counted, its requests are,
// it is closed quietly in the grace, an answer while leaving is the last, and nothing is lost.
func TestWrappedConnections(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name   string
		around func(net.Listener) net.Listener
		says   string // first
		moves  bool
		blind  bool // counted once more
	}{
		{name: "embeds", moves: true, around: func(ln net.Listener) net.Listener {
			return wrapping{ln, func(nc net.Conn) net.Conn { return &embeds{nc} }}
		}},
		{name: "embeds by value", moves: true, around: func(ln net.Listener) net.Listener {
			return wrapping{ln, func(nc net.Conn) net.Conn { return embeds{embeds{nc}} }}
		}},
		{name: "times reads", moves: true, around: func(ln net.Listener) net.Listener {
			return wrapping{ln, func(nc net.Conn) net.Conn { return &timed{nc} }}
		}},
		{name: "times reads and limits", around: func(ln net.Listener) net.Listener {
			return wrapping{ln, func(nc net.Conn) net.Conn { return &limits{&timed{nc}, nil} }}
		}},
		{name: "can't be compared", around: func(ln net.Listener) net.Listener {
			return wrapping{ln, func(nc net.Conn) net.Conn { return tagged{nc, nil} }}
		}},
		{name: "limits", around: func(ln net.Listener) net.Listener {
			return wrapping{ln, func(nc net.Conn) net.Conn { return &limits{nc, nil} }}
		}},
		{name: "reads ahead", around: func(ln net.Listener) net.Listener {
			return wrapping{ln, func(nc net.Conn) net.Conn { return &ahead{nc, bufio.NewReaderSize(nc, 1<<16)} }}
		}},
		{name: "accepts by itself", says: "PROXY UNKNOWN\r\n", around: detached},
		{name: "copies", blind: true, around: func(ln net.Listener) net.Listener {
			return wrapping{ln, piped}
		}},
	} {
		for _, how := range []string{"stop", "swap"} {
			t.Run(x.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				numbers := make(chan int, 8)
				serve := func(n int, from *generation) *generation {
					srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						numbers <- Requests(r.Context())
						echo(n).ServeHTTP(w, r)
					})}
					return next(t, from, srv, x.around)
				}
				one := serve(1, nil)
				rests, asks, begins := dial(t, one), dial(t, one), dial(t, one)
				for _, c := range []*client{rests, asks, begins} {
					c.send(x.says + post("a"))
					c.want("a")
					if n := <-numbers; n != 1 {
						t.Errorf("request 1 is number %d", n)
					}
				}
				one.await(t, "not idle", func(n Counts) bool { return n.Idle == 3 && (n.Open() == 3 || x.blind) })
				begins.send("POST / HT")
				if !x.blind {
					one.wantHeard(t, 1)
				}
				var handover Handover
				if how == "swap" {
					handover = one.handTo(serve(2, one))
				}
				wait := one.depart(t, handover, time.Second)
				asks.send(post("b"))
				if how == "swap" && x.moves {
					asks.want("b")
					one.await(t, "two do not move", func(n Counts) bool { return n.Moved == 2 })
					if g := rests.ask("c"); g != "2" {
						t.Errorf("generation %s answers", g)
					}
				} else {
					asks.wantLast("b")
					rests.wantEnd()
				}
				begins.wantClosed()
				wait()
				if n := one.set.Counts(); n.Lost != 0 || n.CutOff != 0 || n.Part != 1 && !x.blind {
					t.Errorf("%+v", n)
				}
			})
		}
	}
}

// A listener under crypto/tls, and one over it.
func TestWrappedTLS(t *testing.T) {
	t.Parallel()
	config := certified("http/1.1")
	limit := func(ln net.Listener) net.Listener {
		return wrapping{ln, func(nc net.Conn) net.Conn { return &limits{nc, nil} }}
	}
	for name, around := range map[string]func(net.Listener) net.Listener{
		"under": func(ln net.Listener) net.Listener { return tls.NewListener(limit(ln), config) },
		"times reads": func(ln net.Listener) net.Listener {
			return tls.NewListener(wrapping{ln, func(nc net.Conn) net.Conn { return &timed{nc} }}, config)
		},
		"over": func(ln net.Listener) net.Listener { return limit(tls.NewListener(ln, config)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := next(t, nil, &http.Server{}, around)
			rests, asks, half := dialTLS(t, one), dialTLS(t, one), dial(t, one)
			for _, c := range []*client{rests, asks} {
				c.ask("a")
			}
			half.send("\x16\x03\x01")
			one.await(t, "not idle", func(n Counts) bool { return n.Idle == 2 && n.Open() == 3 && one.unread() == 0 })
			wait := one.depart(t, nil, time.Second)
			asks.send(post(strings.Repeat("b", 100)))
			asks.wantLast(strings.Repeat("b", 100))
			rests.wantEnd()
			_, _ = io.ReadAll(half.nc)
			wait()
			if n := one.set.Counts(); n.Lost != 0 || n.CutOff != 0 || n.Part > 1 {
				t.Errorf("%+v", n)
			}
		})
	}
}
