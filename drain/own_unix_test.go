//go:build unix

package drain_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/draintest"
)

// ledger is an owner that has counted how often each line came. It is on disk only at the end.
type ledger struct {
	g    *gen
	name string

	once  sync.Once // the fault
	calls atomic.Int32

	mu    sync.Mutex // guards what follows
	lines map[string]int
}

// own makes the service have the owners of the plan, whose lines its handlers write.
func (g *gen) own() (err error) {
	g.owns = map[string]*ledger{}
	for _, name := range g.Owns {
		g.owns[name] = &ledger{g: g, name: name}
		err = errors.Join(err, g.svc.Own(name, g.owns[name]))
	}
	return err
}

// fails does what the fault says, once.
func (l *ledger) fails(ctx context.Context, method string) (err error) {
	how, ours := strings.CutPrefix(l.g.Fault, method+" of "+l.name+" ")
	if !ours {
		return nil
	}
	if how == "fails from the second time on" {
		if l.calls.Add(1) > 1 {
			err = errors.New("no more disk")
		}
		return err
	}
	l.once.Do(func() {
		switch l.g.fault(l.g.Fault); how {
		case "panics":
			panic("at the ledger")
		case "hangs":
			<-ctx.Done()
			err = ctx.Err()
		case "fails":
			err = errors.New("no more disk")
		}
	})
	return err
}

func (l *ledger) file() string { return filepath.Join(filepath.Dir(l.g.path), "ledger-"+l.name) }

func (l *ledger) Acquire(ctx context.Context, r io.Reader) error {
	if r != nil && l.g.Fault == "Acquire of "+l.name+" takes long" {
		<-time.After(2 * l.g.PauseMax)
	}
	if err := l.fails(ctx, "Acquire"); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	from, lines := "the old generation", map[string]int{}
	if r == nil {
		from = "the file"
		f, err := os.Open(l.file())
		if errors.Is(err, fs.ErrNotExist) {
			l.lines = lines
			l.g.note("%s begins", l.name)
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	if err := json.NewDecoder(r).Decode(&lines); err != nil {
		return err
	}
	l.lines = lines
	l.g.note("%s has %d from %s", l.name, len(lines), from)
	return nil
}

func (l *ledger) Release(ctx context.Context, w io.Writer) error {
	if err := l.fails(ctx, "Release"); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w == nil {
		f, err := os.Create(l.file())
		if err != nil {
			return err
		}
		defer f.Close()
		w = f
	}
	l.g.note("%s gives %d", l.name, len(l.lines))
	err := json.NewEncoder(w).Encode(l.lines)
	l.lines = nil
	return err
}

// ServeHTTP counts the line in the body, and answers with it.
func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	line, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if rand.N(100) == 0 {
		<-time.After(rand.N(100 * time.Millisecond))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.g.note("%s is used by a generation that does not own it", l.name)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	l.lines[string(line)]++
	_, _ = w.Write(line)
}

// pushes is load on a ledger, and what was acknowledged.
type pushes struct {
	*load
	mu     sync.Mutex
	acked  map[string]int
	failed []string // a process that was killed may have written them
	worst  time.Duration
}

func (s *service) push(owner string, keep, fresh int) *pushes {
	s.Helper()
	p := &pushes{load: &load{s: s}, acked: map[string]int{}}
	p.Keep, p.Fresh = keep, fresh
	p.Client = draintest.Client{Addr: "test", Timeout: 2 * hung, Blind: true, Dial: func() (net.Conn, error) {
		c, err := dial(s)
		if err != nil {
			return nil, err
		}
		return c.Conn, nil
	}}
	p.Think = func(draintest.Result) time.Duration { return rand.N(5 * time.Millisecond) }
	p.Ask = func(c *draintest.Client, i, n int) (draintest.Answer, error) {
		line := fmt.Sprintf("%d of client %d", n, i)
		a, err := c.Do("POST", "/own/"+owner, []byte(line))
		if err == nil {
			err = a.Want([]byte(line))
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if err == nil {
			p.acked[line]++
		} else {
			p.failed = append(p.failed, line)
		}
		return a, err
	}
	p.Each = func(r draintest.Result) {
		p.mu.Lock()
		p.worst = max(p.worst, r.Took)
		p.mu.Unlock()
	}
	p.Start(context.Background())
	p.settle()
	return p
}

// wantLedger wants what was acknowledged to be there, once each, and nothing else but what is in doubt.
func (s *service) wantLedger(owner string, acked map[string]int, doubted ...string) {
	s.Helper()
	var there map[string]int
	must(s, json.Unmarshal(have(os.ReadFile(filepath.Join(s.dir, "ledger-"+owner)))(s), &there))
	for _, line := range doubted {
		if there[line] == 1 {
			delete(there, line)
		}
	}
	if maps.Equal(there, acked) {
		return
	}
	lost, twice, more := 0, 0, 0
	for line, n := range acked {
		lost += max(0, n-there[line])
		twice += max(0, there[line]-n)
	}
	for line := range there {
		if acked[line] == 0 {
			more++
		}
	}
	s.Errorf("%s: of %d acknowledged %d are lost, %d counted twice, %d were not acknowledged", owner, len(acked), lost,
		twice, more)
}

// attractOwned starts load on two owners.
func (s *service) attractOwned(keep, fresh int) [2]*pushes {
	s.Helper()
	return [2]*pushes{s.push("a", keep, fresh), s.push("b", 4, 0)}
}

// pushStreams adds clients of HTTP/2 to the load on an owner, until over is called.
func (s *service) pushStreams(p *pushes, clients, streams int) (over func()) {
	s.Helper()
	var all sync.WaitGroup
	quit := make(chan struct{})
	for i := range clients {
		c := newHTTP2Client(s, s.address(), unchecked())
		for k := range streams {
			all.Go(func() {
				for n := 0; !isClosed(quit); n++ {
					line := fmt.Sprintf("%d of stream %d.%d", n, i, k)
					if err := c.post("/own/a", line); err != nil {
						s.Errorf("HTTP/2: %v", err)
						return
					}
					p.mu.Lock()
					p.acked[line]++
					p.mu.Unlock()
					<-time.After(rand.N(5 * time.Millisecond))
				}
			})
		}
	}
	return func() { close(quit); all.Wait() }
}

// wantOwned wants all that was acknowledged when the load and the service are over.
func (s *service) wantOwned(load [2]*pushes) {
	s.Helper()
	for _, p := range load {
		reconnects := 0
		if s.plan.Cert+s.plan.Wrap != "" {
			reconnects = 1 << 16 // they stay with their generation, and end
		}
		p.endWith(reconnects)
	}
	s.stop()
	s.wantNothingLost()
	s.wantLedger("a", load[0].acked)
	s.wantLedger("b", load[1].acked)
	s.Logf("%d and %d acknowledged; the longest wait %v", len(load[0].acked), len(load[1].acked), load[0].worst)
}

// What is acknowledged is there after swaps and a stop, whatever the connections are that bring it.
func TestOwnedStateGoesOn(t *testing.T) {
	for _, x := range []struct {
		name    string
		plan    plan
		streams int // of HTTP/2
	}{
		{"HTTP", plan{}, 0},
		{"TLS", tlsPlan(t, plan{}), 0},
		{"HTTP/2", tlsPlan(t, plan{}), 8},
		{"a framework's server", plan{By: "Track"}, 0},
		{"a limit around the listener", plan{Wrap: "limit"}, 0},
		{"a unix socket", plan{Network: "unix", Addr: socketPath(t)}, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			x.plan.Owns = []string{"a", "b"}
			x.plan.IdleGrace, x.plan.DrainTimeout, x.plan.MaxGenerations = patient, 2*hung, 16
			s := start(t, x.plan)
			load, over := s.attractOwned(16, 2), func() {}
			if x.streams > 0 {
				over = s.pushStreams(load[0], 4, x.streams)
			}
			for range 5 {
				s.swap()
				load[0].settle()
			}
			s.event(1, "stopped") // whatever its clients ask
			over()
			s.wantOwned(load)
		})
	}
}

// A new generation without owners takes over by itself when a pause lasts too long. What waited goes on
// when the pause is over, however that ends.
func TestRequestsOfAPauseThatIsNotWaitedFor(t *testing.T) {
	eachOf(t, func(t *testing.T, how string) {
		s, open := startAt(t, "Release of a "+how, plan{Owns: []string{"a"}, PauseMax: hung, DrainTimeout: 2 * hung})
		c := s.connect()
		_ = have(c.ask("GET", "/whoami", ""))(t)
		s.plan.Owns = nil
		s.replan()
		s.signal(s.pgid, syscall.SIGHUP)
		s.noteSince(0, s.pgid, "at the gate")
		must(t, c.send("POST", "/echo", "patience"))
		s.event(1, "replaced")
		open()
		if a, err := c.receive(); err != nil || a.body != "patience" {
			t.Errorf("%+v, %v", a, err)
		}
		s.stop()
	}, "waits", "fails")
}

// Whatever goes wrong between two owners, the old generation serves on with what it has, and the next swap succeeds.
func TestOwnedStateStaysWhereASwapFails(t *testing.T) {
	const bound = 500 * time.Millisecond
	type x struct {
		old   bool // it is the fault of the old generation
		fault string
		words []string
	}
	all := map[string]x{
		"a handler":      {false, "", []string{"PauseMax (500ms)", "GET /slow"}},
		"killed":         {false, "Acquire of b waits", []string{"killed"}},
		"what Lead runs": {false, "", []string{"what Lead runs"}},
		"also here":      {true, "Acquire of b takes long", []string{"Acquire", `owner "b"`, "deadline"}},
	}
	for _, owner := range []string{"a", "b"} {
		for how, why := range map[string]string{
			"fails": "no more disk", "panics": "at the ledger", "hangs": "deadline",
		} {
			for method, old := range map[string]bool{"Acquire": false, "Release": true} {
				fault := method + " of " + owner + " " + how
				all[fault] = x{old, fault, []string{method, fmt.Sprintf("owner %q", owner), why}}
			}
		}
	}
	each(t, all, func(t *testing.T, x x) {
		p := plan{Owns: []string{"a", "b"}, PauseMax: bound}
		if x.old {
			p.Fault = x.fault
		}
		if x.words[0] == "what Lead runs" {
			p.Leads, p.LeadTail = []string{"one"}, 2*bound
		}
		s := start(t, p, withControl)
		load := s.attractOwned(8, 1)
		switch {
		case x.words[0] == "Acquire" && x.old: // in both generations
			s.failedSwap(x.words...)
			s.nextHas("")
		case x.old:
			s.nextHas("")
			s.failedSwap(x.words...)
		case x.fault == "Acquire of b waits":
			mark := s.mark()
			s.beginSwap(x.fault)
			s.kill(s.event(2, "proven").PID)
			s.wantIn(s.eventSince(mark, 1, "swap failed").Err, x.words...)
		case x.fault != "":
			s.nextHas(x.fault)
			_, err := s.control("swap") // whose answer is not to ask again
			s.wantWords(err, x.words...)
			s.nextHas("")
		case p.Leads != nil:
			s.await(0, "the lead", noted(1, "one begun"))
			s.failedSwap(x.words...)
			s.plan.LeadTail = 0
			s.replan()
		default:
			gate, open := s.gate("slow")
			c := have(dial(s))(t)
			must(t, c.send("GET", "/slow?gate="+gate, ""))
			s.noteSince(0, s.pgid, "slow begun")
			s.failedSwap(x.words...)
			open()
		}
		load[0].settle()
		if p.Leads == nil {
			s.swap()
		}
		load[0].settle()
		s.wantOwned(load)
	})
}

// Where the old generation is killed, the new one has all that it was handed, or knows that there is nothing.
func TestOwnedStateOfAGenerationThatIsKilled(t *testing.T) {
	eachOf(t, func(t *testing.T, at string) {
		p := plan{Owns: []string{"a", "b"}}
		var s *service
		var open func()
		handed := at == "Acquire of b waits"
		if handed {
			s = start(t, p)
		} else {
			s, open = startAt(t, at, p)
		}
		load := s.attractOwned(8, 0)
		old := s.main()
		if handed {
			open = s.beginSwap(at)
		} else {
			s.signal(old.PID, syscall.SIGHUP)
			s.noteSince(0, old.PID, "at the gate")
		}
		s.kill(old.PID)
		if handed {
			open()
		} else {
			s.awaitLine("the old generation has died before it could release")
		}
		s.event(2, "promoted")
		for _, p := range load {
			p.Stop() // requests that waited at the old one have failed
		}
		s.stop()
		if handed {
			s.wantLedger("a", load[0].acked, load[0].failed...)
			s.wantLedger("b", load[1].acked, load[1].failed...)
		}
	}, "Acquire of b waits", "Release of a waits", "Release of b waits")
}

// The old generation is halted, and so does not hear that the new one serves. Until it has let go,
// nothing is acknowledged that it would not know of if the new one died, nor is another generation
// started, which would not know of it.
func TestTheNewGenerationActsWhenTheOldOneHasLetGo(t *testing.T) {
	eachOf(t, func(t *testing.T, what string) {
		s := start(t, plan{Owns: []string{"a", "b"}, Leads: []string{"one"}, DrainTimeout: 2 * hung})
		s.await(0, "the lead", noted(1, "one begun"))
		s.push("b", 4, 0).end()
		open := s.beginSwap("Acquire of b waits")
		s.halt(s.pgid)
		open()
		second := s.event(2, "promoted").PID
		acked := make(chan string)
		var clients sync.WaitGroup
		for i := range 16 {
			clients.Go(func() {
				c, line := s.connect(), fmt.Sprint("line ", i)
				if a, err := c.ask("POST", "/own/a", line); err == nil && a.body == line {
					acked <- line
				}
			})
		}
		go func() { clients.Wait(); close(acked) }()
		for range 16 { // the new one accepts, and answers what uses nothing of the owners
			if a := s.get("/livez"); a.status != http.StatusOK {
				t.Error(a)
			}
		}
		s.signal(second, syscall.SIGHUP)
		s.event(2, "swap begun")
		all := map[string]int{}
		if what != "the old one goes on" {
			s.kill(map[bool]int{true: s.pgid, false: second}[what == "the old one dies"])
		}
		if what != "the old one dies" {
			s.signal(s.pgid, syscall.SIGCONT)
		}
		if what == "the new one dies" {
			s.event(1, "swap failed")
		} else {
			s.event(3, "promoted")
		}
		for line := range acked {
			all[line]++
		}
		if len(all) == 0 && what != "the new one dies" { // with those that it has accepted
			t.Error("nothing is acknowledged")
		}
		s.stop()
		s.wantLedger("a", all)
		for _, r := range s.since(0) {
			if (r.Gen == 3 || noted(2, "one begun")(r)) && what == "the new one dies" {
				t.Error(r)
			}
		}
	}, "the new one dies", "the old one dies", "the old one goes on")
}

// The new generation is killed while it handles requests that the old one forwards: a client hears that, or is cut off,
// and no other generation handles the request once more.
func TestForwardedRequestsOfAGenerationThatIsKilled(t *testing.T) {
	const streams = 4
	for name, p := range map[string]plan{
		"HTTP": {}, "TLS": tlsPlan(t, plan{}), "HTTP/2": tlsPlan(t, plan{}), "a limit": {Wrap: "limit"},
	} {
		t.Run(name, func(t *testing.T) {
			parallel(t)
			p.Owns, p.IdleGrace, p.DrainTimeout = []string{"a", "b"}, patient, 2*hung
			s := start(t, p)
			handled := func() (by []int) {
				for _, r := range s.since(0) {
					if r.Note == "slow begun" {
						by = append(by, r.Gen)
					}
				}
				return by
			}
			scheme := map[bool]string{false: "http://", true: "https://"}[p.Cert != ""]
			c := &http.Client{Timeout: 2 * hung, Transport: &http.Transport{ForceAttemptHTTP2: name == "HTTP/2",
				TLSClientConfig: unchecked(), MaxIdleConnsPerHost: streams}}
			defer c.CloseIdleConnections()
			var sent, answered sync.WaitGroup
			each := func(target string, status int) {
				for range streams {
					sent.Add(1)
					answered.Go(func() {
						trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { sent.Done() }}
						ctx, url := httptrace.WithClientTrace(t.Context(), trace), scheme+s.address()+target
						r := have(http.NewRequestWithContext(ctx, http.MethodPost, url, nil))(t)
						resp, err := c.Do(r)
						if err == nil {
							_ = resp.Body.Close()
						}
						if err == nil && resp.StatusCode != status || err != nil && status == http.StatusOK {
							t.Errorf("%s: %v, %v", target, resp, err)
						}
					})
				}
				sent.Wait()
			}
			each("/whoami", http.StatusOK)
			answered.Wait()
			gate, _ := s.gate("slow")
			open := s.beginSwap("Acquire of b waits")
			each("/slow?gate="+gate, http.StatusBadGateway)
			open()
			second := s.event(2, "promoted").PID
			s.eventually("the new generation to handle", func() bool { return len(handled()) == streams })
			s.kill(second)
			answered.Wait()
			c.CloseIdleConnections()
			s.gone()
			if by := handled(); !slices.Equal(by, []int{2, 2, 2, 2}) {
				t.Errorf("%d requests are handled by %d", streams, by)
			}
		})
	}
}

// A stop that comes in the pause is heeded by the generation that owns everything then.
func TestStopInThePauseOfASwap(t *testing.T) {
	eachOf(t, func(t *testing.T, at string) {
		p := plan{Owns: []string{"a", "b"}}
		var s *service
		var open func()
		if strings.HasPrefix(at, "Acquire") {
			s = start(t, p)
			load := s.push("a", 4, 0)
			load.end()
			open = s.beginSwap(at)
		} else {
			s, open = startAt(t, at, p)
			s.push("a", 4, 0).end()
			s.signal(s.pgid, syscall.SIGHUP)
			s.noteSince(0, s.pgid, "at the gate")
		}
		s.tell(s.pgid, syscall.SIGTERM)
		open()
		s.gone()
		s.wantNothingLost()
		exits := slices.DeleteFunc(s.since(0), func(r record) bool {
			return !strings.HasPrefix(r.Note, "exit ")
		})
		if n := len(exits); n != 2 {
			t.Errorf("%d processes have ended well; want 2", n)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "ledger-b")); err != nil {
			t.Error(err)
		}
	}, "Acquire of b waits", "Release of b waits", "Release of a waits")
}

// Nobody waits for the first generation: a stop ends it, whatever its owners wait for.
func TestStopWhileTheFirstOwnersAcquire(t *testing.T) {
	s, _ := hold(t, "Acquire of b waits", plan{Owns: []string{"a", "b"}})
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantExit(s.pgid, 0)
}

// A second signal to stop cuts off what is in flight, and what was acknowledged is saved all the same. What a handler
// speaks HTTP/2 on passes no gate, and is warned of.
func TestOwnersSaveWhenAskedTwice(t *testing.T) {
	s := start(t, plan{Owns: []string{"a"}})
	load := s.push("a", 4, 0)
	load.end()
	c := s.connect()
	_, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	must(t, err)
	s.awaitLine("http.Server.Protocols")
	gate, _ := s.gate("slow")
	must(t, s.connect().send("GET", "/slow?gate="+gate, ""))
	s.noteSince(0, s.pgid, "slow begun")
	s.tell(s.pgid, syscall.SIGTERM)
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantExit(s.pgid, 1)
	s.wantLedger("a", load.acked)
}

// Where neither generation can have what was released, nobody is told that anything was done, and the service ends with
// the reason. What can be saved is.
func TestOwnerThatCanNotAcquireAgain(t *testing.T) {
	s := start(t, plan{Owns: []string{"a", "b"}, PauseMax: 200 * time.Millisecond, DrainTimeout: time.Second,
		Fault: "Acquire of b fails from the second time on"})
	load := s.attractOwned(4, 0)
	s.nextHas("Acquire of a fails")
	s.signal(s.pgid, syscall.SIGHUP)
	s.gone()
	s.wantExit(s.pgid, 1)
	for _, p := range load {
		p.Stop()
	}
	s.awaitLine("cannot reacquire the state", `owner \"b\"`, "no more disk")
	s.wantLedger("a", load[0].acked)
}

// A second signal to stop that comes while the owners get back what they have released is not forgotten, and they save.
func TestOwnersSaveWhenAskedTwiceOnTheWayBack(t *testing.T) {
	s := start(t, plan{Owns: []string{"a"}, Fault: "Acquire of a takes long", PauseMax: time.Second})
	load := s.push("a", 4, 0)
	load.end()
	s.beginSwap("Acquire of a waits")
	_ = syscall.Kill(s.event(2, "proven").PID, syscall.SIGKILL) // or it has waited for PauseMax, and is gone
	s.tell(s.pgid, syscall.SIGTERM)
	<-time.After(200 * time.Millisecond) // one that comes sooner counts as the first
	s.signal(s.pgid, syscall.SIGTERM)
	s.exit(s.pgid)
	s.wantLedger("a", load.acked)
}
