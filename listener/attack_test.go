//go:build unix

package listener

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestManyIdleConnectionsMove moves them twice and looks for what stays behind. Both ends are in this process.
func TestManyIdleConnectionsMove(t *testing.T) {
	before, goroutines := descriptors(t), runtime.NumGoroutine()
	func() {
		n := min(10_000, (descriptorLimit(t)-before-200)/4)
		if raceEnabled {
			n = min(n, 1000)
		}
		one := next(t, nil, &http.Server{})
		var clients []*client
		for i := 0; i < n; i += 500 {
			for range min(500, n-i) {
				clients = append(clients, dial(t, one))
			}
			for _, c := range clients[i:] {
				c.send(post("a"))
			}
			for _, c := range clients[i:] {
				c.want("a")
			}
		}
		one.await(t, "not idle", func(c Counts) bool { return c.Idle == n })
		gen := one
		for range 2 {
			two := next(t, gen, &http.Server{})
			start := time.Now()
			gen.leave(t, two)()
			t.Logf("%d connections moved in %v", n, time.Since(start))
			gen = two
		}
		for _, c := range clients {
			c.send(post("b"))
		}
		for _, c := range clients {
			if g := c.want("b"); g != "3" {
				t.Fatalf("generation %s answers", g)
			}
			_ = c.nc.Close()
		}
		gen.await(t, "still open", func(c Counts) bool { return c.Open() == 0 })
		_ = gen.srv.Close()
		gen.set.Close()
	}()
	for end := time.Now().Add(patience); descriptors(t) > before ||
		runtime.NumGoroutine() > goroutines+2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("descriptors %d, then %d; goroutines %d, then %d", before, descriptors(t), goroutines,
				runtime.NumGoroutine())
		}
	}
}

// A dialect is a way to send requests on one connection; each is told in pieces, which the test sends with
// swaps between them.
type dialect struct {
	name string
	say  func(c *client, rnd *rand.Rand, n int)
}

// scatter sends s in pieces.
func (c *client) scatter(rnd *rand.Rand, s string) {
	for len(s) > 0 {
		n := 1 + rnd.IntN(min(len(s), 40+rnd.IntN(4000)))
		if _, err := io.WriteString(c.nc, s[:n]); err != nil {
			panic(fmt.Errorf("write: %w", err))
		}
		s = s[n:]
		if rnd.IntN(4) == 0 {
			runtime.Gosched()
		}
	}
}

func (c *client) hear(method, body string) {
	resp, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		panic(fmt.Errorf("no response to %.30q: %w", body, err))
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != body || resp.Close {
		panic(fmt.Errorf("response to %.30q: %s %.30q %v close %v", body, resp.Status, got, err, resp.Close))
	}
}

var dialects = []dialect{
	{"get", func(c *client, rnd *rand.Rand, _ int) {
		c.scatter(rnd, "GET /fixed HTTP/1.1\r\nHost: x\r\n\r\n")
		c.hear("GET", "fixed")
	}},
	{"head", func(c *client, rnd *rand.Rand, _ int) {
		c.scatter(rnd, "HEAD /fixed HTTP/1.1\r\nHost: x\r\n\r\n")
		c.hear("HEAD", "")
	}},
	{"unread body", func(c *client, rnd *rand.Rand, n int) {
		c.scatter(rnd, strings.Replace(post(strings.Repeat("x", 1+rnd.IntN(9000))), "/", "/fixed", 1))
		c.hear("POST", "fixed")
	}},
	{"chunked", func(c *client, rnd *rand.Rand, n int) {
		a, b := fmt.Sprint(n), strings.Repeat("y", 1+rnd.IntN(5000))
		const format = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n" +
			"%x\r\n%s\r\n%x\r\n%s\r\n0\r\nT: 1\r\n\r\n"
		c.scatter(rnd, fmt.Sprintf(format, len(a), a, len(b), b))
		c.hear("POST", a+b)
	}},
	{"expect", func(c *client, rnd *rand.Rand, n int) {
		body := fmt.Sprint(n)
		c.scatter(rnd, fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
			len(body)))
		line, err := c.br.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
			panic(fmt.Errorf("expect: %q %w", line, err))
		}
		_, _ = c.br.ReadString('\n')
		c.scatter(rnd, body)
		c.hear("POST", body)
	}},
	{"1.0 keep-alive", func(c *client, rnd *rand.Rand, n int) {
		c.scatter(rnd, "GET /fixed HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		resp, err := http.ReadResponse(c.br, nil)
		if err != nil {
			panic(err)
		}
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "fixed" ||
			resp.Header.Get("Connection") != "keep-alive" {
			panic(fmt.Errorf("1.0: %q %w %v", b, err, resp.Header))
		}
	}},
	{"pipeline", func(c *client, rnd *rand.Rand, n int) {
		var all bytes.Buffer
		k := 2 + rnd.IntN(6)
		for i := range k {
			all.WriteString(post(fmt.Sprint(n, i)))
		}
		c.scatter(rnd, all.String())
		for i := range k {
			c.hear("POST", fmt.Sprint(n, i))
		}
	}},
	{"big header", func(c *client, rnd *rand.Rand, n int) {
		c.scatter(rnd, "GET /fixed HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("z", rnd.IntN(8000))+"\r\n\r\n")
		c.hear("GET", "fixed")
	}},
}

var polyglot = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/fixed" {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "fixed")
		return
	}
	_, _ = io.Copy(w, bytes.NewReader(mustRead(r.Body)))
})

func mustRead(r io.Reader) []byte {
	b, err := io.ReadAll(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return b
}

// Servers of all kinds, clients of all kinds, generations that follow each other as fast as they can.
func TestNothingIsLostInAnyDialect(t *testing.T) {
	for _, server := range []string{"plain", "h2c", "tiny headers", "timeouts"} {
		t.Run(server, func(t *testing.T) {
			fresh := func() *http.Server {
				srv := &http.Server{Handler: polyglot}
				switch server {
				case "h2c":
					srv.Protocols = new(http.Protocols)
					srv.Protocols.SetHTTP1(true)
					srv.Protocols.SetUnencryptedHTTP2(true)
				case "tiny headers":
					srv.MaxHeaderBytes = 8 << 10
				case "timeouts":
					srv.IdleTimeout, srv.ReadHeaderTimeout, srv.ReadTimeout, srv.WriteTimeout = time.Hour, time.Minute,
						2*time.Minute, time.Minute
				}
				return srv
			}
			gen := next(t, nil, fresh())
			var wg sync.WaitGroup
			seed := seed(t)
			for i := range 2 * len(dialects) {
				rnd := rand.New(rand.NewPCG(seed, uint64(i)))
				c := dial(t, gen)
				wg.Go(func() {
					said := "nothing"
					defer func() {
						if err := recover(); err != nil {
							t.Errorf("client %d, seed %d, %s: %v", i, seed, said, err)
						}
					}()
					for n := range 60 {
						d := dialects[i%len(dialects)]
						if i >= len(dialects) { // one of all trades
							d = dialects[rnd.IntN(len(dialects))]
						}
						said += " " + d.name
						said = said[max(0, len(said)-100):]
						d.say(c, rnd, n)
					}
				})
			}
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			swaps, moved := 0, int64(0)
			for ; !isDone(done); swaps++ {
				two := next(t, gen, fresh())
				gen.leave(t, two)()
				moved += gen.set.Counts().Moved
				gen = two
			}
			t.Logf("%d generations, %d moves", swaps, moved)
			if swaps < 3 {
				t.Errorf("only %d generations: the test shows nothing", swaps)
			}
		})
	}
}
