//go:build unix

package drain_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// client is a connection on which requests are sent one after another. It never retries.
type client struct {
	net.Conn
	r      *bufio.Reader
	single bool // of a load: is for one request
}

// answer is a response, read to its end.
type answer struct {
	status   int
	pid, gen int
	body     string
	close    bool // the server will close the connection
}

func dial(s *service) (*client, error) { return s.dialAt(s.address(), s.plan.Cert != "") }

func (s *service) dialAt(address string, secure bool) (*client, error) {
	nc, err := net.DialTimeout(s.plan.Network, address, hung)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(2 * hung))
	if strings.Contains(s.plan.Wrap, "proxy") {
		_, _ = io.WriteString(nc, proxyHeader) // an error comes again
	}
	if secure {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	}
	return &client{Conn: nc, r: bufio.NewReader(nc)}, nil
}

// address is where the service listens.
func (s *service) address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if addr, ok := strings.CutPrefix(r.Note, "listening "); ok {
			return addr
		}
	}
	s.Error("the service does not listen")
	return ""
}

func (s *service) connect() *client {
	s.Helper()
	c, err := dial(s)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// send begins the time that one request may take: its connection may live through more swaps than a slow
// machine does in a while.
func (c *client) send(method, target, body string) error {
	_ = c.SetDeadline(time.Now().Add(2 * hung))
	_, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", method, target,
		len(body), body)
	return err
}

func (c *client) receive() (a answer, err error) {
	_ = c.SetReadDeadline(time.Now().Add(2 * hung))
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a = answer{status: resp.StatusCode, body: string(body), close: resp.Close}
	a.pid, _ = strconv.Atoi(resp.Header.Get("X-Pid"))
	a.gen, _ = strconv.Atoi(resp.Header.Get("X-Generation"))
	return a, err
}

func (c *client) ask(method, target, body string) (answer, error) {
	if err := c.send(method, target, body); err != nil {
		return answer{}, err
	}
	return c.receive()
}

// get asks on a new connection.
func (s *service) get(target string) answer {
	s.Helper()
	c := s.connect()
	defer c.Close()
	a, err := c.ask("GET", target, "")
	if err != nil {
		s.Fatalf("GET %s: %v", target, err)
	}
	return a
}

// letGo tells whether a generation has told that it was replaced, or is gone.
func (s *service) letGo(gen int) bool {
	pid := 0
	for _, r := range s.since(0) {
		if r.Gen != gen {
			continue
		}
		if r.Msg == "replaced" {
			return true
		}
		pid = r.PID
	}
	return gen < 1 || !slices.Contains(living(s.pgid), pid)
}

// do calls a method of the main generation's Service and returns its error. The generation before accepts for a moment
// after the promotion.
func (s *service) do(it string, args ...string) string {
	s.Helper()
	for timeout := time.After(hung); !s.letGo(s.main().Gen - 1); {
		select {
		case <-timeout:
			s.Fatal("the generation before does not let go")
		case <-time.After(time.Millisecond):
		}
	}
	v := url.Values{"it": {it}}
	for i := 0; i < len(args); i += 2 {
		v.Set(args[i], args[i+1])
	}
	return s.get("/do?" + v.Encode()).body
}

// slow begins a request that hangs in the newest generation until the gate of that name is opened, and waits until its
// handler runs.
func (s *service) slow(name string) (c *client, open func()) {
	s.Helper()
	path, open := s.gate(name)
	c, mark := s.connect(), s.mark()
	if err := c.send("GET", "/slow?gate="+url.QueryEscape(path), ""); err != nil {
		s.Fatal(err)
	}
	if r := s.noteSince(mark, 0, "slow begun"); r.PID == s.main().PID {
		return c, open
	}
	s.finishSlow(c, open) // the generation before was quicker than its end
	_ = c.Close()
	return s.slow(name + "+")
}

// finishSlow opens the gate of a slow request and wants its answer.
func (s *service) finishSlow(c *client, open func()) answer {
	s.Helper()
	open()
	a, err := c.receive()
	if err != nil || a.body != "slow but done" {
		s.Fatalf("slow request: %+v, %v", a, err)
	}
	return a
}

// load is a number of clients that send POST requests on connections that they keep.
type load struct {
	s       *service
	dial    func() (*client, error)
	quit    chan struct{}
	clients sync.WaitGroup
	beats   []atomic.Int64 // requests answered or failed, by client

	mu         sync.Mutex // guards what follows
	failures   []string
	reconnects int
	gens       map[int]int // answers by generation
}

// drive starts n clients and waits until each has had an answer.
func (s *service) drive(n int, think time.Duration) *load {
	s.Helper()
	return s.driveBy(func() (*client, error) { return dial(s) }, n, think)
}

func (s *service) driveBy(dial func() (*client, error), n int, think time.Duration) *load {
	s.Helper()
	l := &load{s: s, dial: dial, quit: make(chan struct{}), beats: make([]atomic.Int64, n), gens: make(map[int]int)}
	for i := range n {
		l.clients.Go(func() { l.client(i, think) })
	}
	l.settle()
	return l
}

func (l *load) client(i int, think time.Duration) {
	var c *client
	defer func() {
		if c != nil {
			_ = c.Close()
		}
	}()
	for n := 0; ; n++ {
		select {
		case <-l.quit:
			return
		default:
		}
		if c == nil {
			var err error
			if c, err = l.dial(); err != nil {
				l.note(i, answer{}, err)
				return // nobody listens: there is no more to learn
			}
			if n > 0 {
				l.mu.Lock()
				l.reconnects++
				l.mu.Unlock()
			}
		}
		body := fmt.Sprintf("request %d of client %d", n, i)
		a, err := c.ask("POST", "/echo", body)
		if err == nil && (a.status != http.StatusOK || a.body != body) {
			err = fmt.Errorf("%d %q", a.status, a.body)
		}
		l.note(i, a, err)
		if err != nil || a.close || c.single {
			_ = c.Close()
			c = nil
		}
		if think > 0 {
			<-time.After(rand.N(think))
		}
	}
}

func (l *load) note(i int, a answer, err error) {
	l.beats[i].Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gens[a.gen]++
	if err != nil {
		l.failures = append(l.failures, fmt.Sprintf("client %d: %v", i, err))
	}
}

// settle waits until each client has been through a whole request from now on.
func (l *load) settle() {
	l.s.Helper()
	timeout := time.After(hung)
	for i := range l.beats {
		for from := l.beats[i].Load(); l.beats[i].Load() < from+2; {
			select {
			case <-time.After(time.Millisecond):
			case <-timeout:
				l.s.Fatalf("client %d gets no answers", i)
			}
			l.mu.Lock()
			failed := len(l.failures)
			l.mu.Unlock()
			if failed > 0 {
				return
			}
		}
	}
}

// end ends the load and wants that it has noticed nothing.
func (l *load) end() { l.s.Helper(); l.endWith(0) }

// endWith ends the load and wants no failure, and no more reconnects than that.
func (l *load) endWith(reconnects int) {
	l.s.Helper()
	l.settle()
	close(l.quit)
	l.clients.Wait()
	if len(l.failures) > 0 || l.reconnects > reconnects {
		l.s.Errorf("%d failed, %d reconnects; by generation %v\n%s", len(l.failures), l.reconnects, l.gens,
			strings.Join(l.failures[:min(len(l.failures), 8)], "\n"))
	}
}
