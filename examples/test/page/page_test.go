//go:build linux

// Package page has tests that look at drain/statuspage with a real Chromium: at examples/gin, under load.
package page

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/browser"
	"github.com/baton-go/baton/examples/internal/flow"
	"github.com/baton-go/baton/examples/internal/visitors"
)

func TestMain(m *testing.M) { flow.Main(m) }

// site is a node with its page.
type site struct {
	*flow.Node
	t    *testing.T
	page string // its URL
}

func newSite(t *testing.T, flags ...string) *site {
	t.Helper()
	host := flow.Host()
	flags = append([]string{"-page", host + ":8081", "-probation", "100ms"}, flags...)
	s := &site{flow.NewNode(t, host+":8080", flow.Build(t, "gin", "v1", ""), flags...), t, "http://" + host + ":8081/"}
	s.Control("start")
	return s
}

// probe has n balancers ask for /ping, each from an address of its own, and returns when each is known for one.
func (s *site) probe(n int, every time.Duration, agent string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var probers sync.WaitGroup
	s.t.Cleanup(func() { cancel(); probers.Wait() })
	host, _, _ := net.SplitHostPort(s.Addr)
	for i := range n {
		from := &net.TCPAddr{IP: net.ParseIP(host[:strings.LastIndexByte(host, '.')] + "." + strconv.Itoa(200+i))}
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       (&net.Dialer{LocalAddr: from}).DialContext,
		}}
		probers.Go(func() {
			for tick := time.NewTicker(every); ctx.Err() == nil; {
				req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+s.Addr+"/ping", nil)
				req.Header.Set("User-Agent", agent)
				if resp, err := client.Do(req); err == nil {
					_ = resp.Body.Close()
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	s.eventually("the probers are known", func(st drain.Status) bool {
		known := 0
		for _, p := range st.Probers {
			if p.Live && p.Interval > 0 {
				known++
			}
		}
		return known == n
	})
}

// eventually waits for a fact. A question that gets no answer, as on a busy machine, is asked again.
func (s *site) eventually(what string, fact func(drain.Status) bool) {
	s.t.Helper()
	flow.Eventually(s.t, what, func() bool {
		st, err := drain.Client{Socket: s.Path("control")}.Status(context.Background())
		return err == nil && fact(st)
	})
}

// hold begins n requests whose bodies do not end: each keeps its generation. release ends the bodies, and returns how
// many have been answered.
func (s *site) hold(n int) (release func() (answered int)) {
	s.t.Helper()
	var pipes []*io.PipeWriter
	var held sync.WaitGroup
	var ok atomic.Int32
	ctx, cancel := context.WithCancel(context.Background())
	sent := func(st drain.Status) int { return int(st.Total.Requests - st.Total.Aside) }
	before := sent(s.Status())
	for range n {
		body, end := io.Pipe()
		pipes = append(pipes, end)
		req, _ := http.NewRequestWithContext(ctx, "POST", "http://"+s.Addr+"/echo", body)
		held.Go(func() {
			client := &http.Transport{DisableKeepAlives: true}
			if resp, err := client.RoundTrip(req); err == nil {
				if resp.StatusCode == http.StatusOK {
					ok.Add(1)
				}
				_ = resp.Body.Close()
			}
		})
	}
	release = sync.OnceValue(func() int {
		for _, end := range pipes {
			_ = end.Close() // the transport waits for its reader
		}
		defer time.AfterFunc(flow.Patience, cancel).Stop()
		held.Wait()
		return int(ok.Load())
	})
	s.t.Cleanup(func() { release() })
	s.eventually("the requests have come", func(st drain.Status) bool {
		return sent(st) >= before+n && st.Open.Active >= n
	})
	return release
}

// rows are the figures of a table of the page, by what stands before them.
func rows(p *browser.Page, table string) (figures map[string][]int) {
	figures = map[string][]int{}
	for _, row := range browser.Eval[[][]string](p, `[...document.querySelectorAll("`+table+` tbody tr")]`+
		`.map(tr => [...tr.children].map(cell => cell.textContent))`) {
		for _, text := range row[1:] {
			n, err := strconv.Atoi(strings.ReplaceAll(text, ",", ""))
			if err == nil {
				figures[row[0]] = append(figures[row[0]], n)
			}
		}
	}
	return figures
}

// click does what a button of the page says, and its dialog asks for.
func click(p *browser.Page, action string) {
	p.Click(`button[data-do="` + action + `"]`)
	p.Click("#askYes")
}

// An operator looks at a service from a phone, and from a desk in the dark: swaps, one that fails, a pull that its
// probers notice, a stop. Each is seen as it happens, and the page neither jumps nor is too wide.
func TestAnOperatorsDay(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]browser.View{
		"phone": {Width: 375, Height: 740}, "desk": {Width: 1100, Dark: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "-pull-max", "1h", "-drain-timeout", "5s")
			s.probe(3, 300*time.Millisecond, "HAProxy check")
			load := flow.NewLoad(t, s.Addr, 8, 0) // a balancer that sends new connections would hold up the pull
			p := browser.Open(t, s.page, v)
			p.Shows("#phase", "Ready")
			p.Shows("#build", "v1 · generation 1 · pid "+strconv.Itoa(s.PID()))
			browser.Eval[bool](p, `(() => { window.jumps = 0; new PerformanceObserver(l => l.getEntries().forEach(e => {
				if (!e.hadRecentInput) jumps += e.value })).observe({type: "layout-shift"}); return true })()`)
			browser.Eval[bool](p, `(() => { window.waited = [];
				new MutationObserver(() => waited.push(waits.textContent)).observe(waits,
					{childList: true, characterData: true, subtree: true}); return true })()`)
			ground := browser.Eval[string](p, "getComputedStyle(document.body).backgroundColor")
			if (ground == "rgb(16, 19, 23)") != v.Dark {
				t.Errorf("dark is %v, and the page's ground %s", v.Dark, ground)
			}

			s.Deploy(flow.Build(t, "gin", "v2", ""))
			click(p, "swap")
			p.Shows("#said", "Generation 2 has taken over.")
			p.Shows("#build", "v2 · generation 2")
			p.Shows("#timeline li:first-child", "2 · v2main")
			p.Shows("#history li:first-child", "generation 2 (v2) took over; 1 gone after ")

			s.Deploy(flow.Build(t, "gin", "v3", "crash"))
			click(p, "swap")
			p.Shows("#said", "generation 2 serves on")
			p.Shows("#failed", "1 failed")
			p.Shows("#history li:first-child .why", "exit status 3")
			p.Shows("#timeline li:first-child .fail", "✕")

			click(p, "pull")
			p.Shows("#phase", "Pulled")
			p.Shot(name + "-pulled")
			p.Shows("#pull", "Pulled: 3 of 3 probers noticed.")
			p.Shows("#probers td:last-child", "✓ 3 of 3")
			p.Shows("#waits", "nothing")
			waited := browser.Eval[[]string](p, "waited")
			if !slices.ContainsFunc(waited, func(what string) bool {
				return strings.Contains(what, " of 3 failing answers): for ") && strings.Contains(what, ", at most ")
			}) {
				t.Errorf("while the probers had not noticed, it waited for %q", waited)
			}
			load.Flows(20)
			p.Shot(name)
			click(p, "restore")
			p.Shows("#phase", "Ready")

			// By the keyboard: the first button, then the dialog's other answer.
			browser.Eval[bool](p, `document.querySelector("#actions button").focus() || true`)
			p.Press(kb.Enter)
			p.Shows("dialog[open] #askTitle", "Swap the binary?")
			p.Press(kb.Escape)
			if browser.Eval[bool](p, "ask.open") || p.Text("#swaps") != "1" {
				t.Error("Escape has not closed the dialog, or it swaps all the same")
			}
			load.Lossless()
			p.Shows("#lost", "0")
			for _, wrong := range []struct{ what, script string }{
				{"a part of the page is wider than the screen",
					`document.documentElement.scrollWidth > innerWidth`},
				{"the page has jumped",
					`window.jumps > .1`}, // what Chromium calls good
				{"the browser has kept an answer",
					`performance.getEntriesByType("resource")` +
						`.some(e => e.responseStatus === 200 && e.transferSize === 0)`},
				{"something comes from elsewhere",
					`performance.getEntriesByType("resource")` +
						`.some(e => new URL(e.name).host !== location.host)`},
				{"a control is too small for a finger",
					`[...document.querySelectorAll("#actions button")]` +
						`.some(b => b.offsetHeight < 38)`},
				{"something has no name for those who can't see",
					`[...document.querySelectorAll("button, progress, dialog, [role=region]")]` +
						`.some(e => !(e.textContent || e.getAttribute("aria-label")).trim())`},
			} {
				if browser.Eval[bool](p, wrong.script) {
					t.Errorf("%s: %v", wrong.what, browser.Eval[float64](p, "window.jumps"))
				}
			}
			t.Logf("the page has jumped by %.3f", browser.Eval[float64](p, "window.jumps"))

			// A request that no generation can hand over: its own is waited for, and then cut off.
			release := s.hold(1)
			s.Deploy(flow.Build(t, "gin", "v2", ""))
			click(p, "swap")
			p.Shows("#said", " has taken over.")
			p.Shows("#work", "Generation 2: 1 connection, cut off in ")
			flow.Eventually(t, "in a request are the page's question, and the one that is held", func() bool {
				return slices.Equal(rows(p, "#connections")["in a request"], []int{1, 1})
			})
			p.Shows("#lost.bad", "1")
			p.Shows("#lostOf", "1 cut off")
			ledger := rows(p, "#ledger")
			if lost, cut := ledger["Requests, perhaps lost"], ledger["Cut off"]; lost[0] != 1 || cut[0] != 1 {
				t.Errorf("lost are %d, cut off %d; want 1 of each: %v", lost, cut, ledger)
			}
			if release() != 0 {
				t.Error("what was cut off has been answered")
			}
			click(p, "stop")
			p.Shows("#live", "no answer since")
			flow.Eventually(t, "the service is gone", func() bool { return len(flow.Running(s.Dir+"/")) == 0 })
			s.Deploy(flow.Build(t, "gin", "v2", ""))
			s.Control("start")
			p.Shows("#live", "live")
			p.Shows("#build", "generation 1")
			if errs := p.Errors(); len(errs) > 0 {
				t.Errorf("the browser complains: %q", errs)
			}
		})
	}
}

// A stop and a swap do not wait for a page that is open, nor does a pull for one that connects for each question.
func TestThePageHoldsNothingUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, "-pull-max", "1h")
	p := browser.Open(t, s.page, browser.View{})
	p.Shows("#phase", "Ready")
	s.probe(2, 200*time.Millisecond, "<b>prober</b><img src=x onerror=document.title='taken'>")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // as behind a proxy that keeps no connections
		once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		for ctx.Err() == nil {
			if resp, err := once.Get(s.page + "status.json"); err == nil {
				_ = resp.Body.Close()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	began := time.Now()
	s.Control("pull")
	pulled := time.Since(began)
	s.Control("restore")
	began = time.Now()
	s.Control("reload")
	s.eventually("the old generation is gone", func(st drain.Status) bool { return len(st.Older) == 0 })
	swapped := time.Since(began)
	p.Shows("#build", "generation 2")
	p.Shows("#probers small", "<b>prober</b><img src=x onerror=")
	if browser.Eval[bool](p, `document.title === "taken" || `+
		`document.querySelector("#probers img, #probers b") !== null`) {
		t.Error("what a prober says has become a part of the page")
	}
	cancel()
	began = time.Now()
	s.Control("stop")
	t.Logf("with a page open, a pull took %v, a swap with its drain %v, a stop %v", pulled, swapped, time.Since(began))
}

// What another site's page can send, sent by a real browser: the service does nothing of it, and is not framed.
func TestForgedByAnotherSite(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port := s.page[strings.LastIndexByte(s.page, ':'):]
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><iframe src=%[1]q></iframe><img src="%[1]sswap"><iframe name=sink></iframe>
			<form id=f action="%[1]sswap" method=post target=sink><input name=a value=b></form>`, s.page)
	}))
	defer evil.Close()
	rules := "MAP evil.test " + strings.TrimSuffix(strings.TrimPrefix(s.page, "http://"), port+"")
	p := browser.Open(t, evil.URL, browser.View{Rules: rules})
	send := func(script string) string {
		return browser.Eval[string](p,
			`(async () => { try { `+script+`; return "" + r.status } catch (e) { return e.name } })()`)
	}
	post := fmt.Sprintf("const r = await fetch(%q, ", s.page+"swap")
	read := fmt.Sprintf("const r = await fetch(%q)", s.page+"status.json")
	beacon := fmt.Sprintf(`navigator.sendBeacon(%q, "a")`, s.page+"stop")
	for script, want := range map[string]string{
		post + `{method: "POST", mode: "no-cors"})`:                         "TypeError", // sent, refused, and not told
		post + `{method: "POST", mode: "no-cors", credentials: "include"})`: "TypeError",
		post + `{method: "POST", headers: {"X-Status-Token": "a"}})`:        "TypeError", // not even sent
		read:                                "TypeError", // not to be read
		`f.submit(); const r = {status: 1}`: "1",
		beacon + "; const r = {status: 1}":  "1",
	} {
		if got := send(script); got != want {
			t.Errorf("%s: %s, want %s", script, got, want)
		}
	}
	flow.Eventually(t, "the page is not shown in a frame", func() bool {
		return slices.ContainsFunc(p.Frames(), func(url string) bool { return strings.HasPrefix(url, "chrome-error:") })
	})

	// A name of the attacker's that has come to point here: the same origin, to a browser.
	p.Go("http://evil.test" + port)
	p.Shows("#phase", "Ready")
	if p.Text("#actions") != "" {
		t.Error("by a stranger's name the page has buttons")
	}
	token := browser.Eval[string](browser.Open(t, s.page, browser.View{}),
		`fetch("status.json").then(r => r.json()).then(v => v.token)`)
	for _, header := range []string{"{}", fmt.Sprintf("{'X-Status-Token': %q}", token)} {
		if got := send(`const r = await fetch("stop", {method: "POST", headers: ` + header + `})`); got != "421" {
			t.Errorf("by a stranger's name: %s, want 421", got)
		}
	}
	s.eventually("nothing was done", func(st drain.Status) bool { return st.Phase == drain.Ready && st.Swaps == 0 })
}

// lasting is for how long TestWhatThePageShowsIsWhatTheLoadCounted lasts: BATON_PAGE=60s for a figure.
func lasting() time.Duration {
	d, err := time.ParseDuration(os.Getenv("BATON_PAGE"))
	if err != nil {
		return 6 * time.Second
	}
	return d
}

// tour is the load of the tour, and what it has counted.
type tour struct {
	visitors.Load
	out atomic.Bool // nothing is sent: the clients keep their connections

	mu        sync.Mutex
	requests  int
	reconnect int
	failed    []error
}

func newTour(s *site) *tour {
	s.t.Helper()
	l := &tour{Load: visitors.Load{Mix: visitors.Tour, Addr: s.Addr}}
	l.May = func() bool { return !l.out.Load() }
	l.Each = func(visitors.Class) func(draintest.Result) { return l.count }
	l.Start()
	s.t.Cleanup(l.Stop)
	flow.Eventually(s.t, "each client has been answered", l.IsWarm)
	return l
}

func (l *tour) count(r draintest.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if r.Again {
		l.reconnect++
	}
	if r.Err != nil {
		l.failed = append(l.failed, r.Err)
	}
}

func (l *tour) counted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

// ofBrowser is how many connections the kernel has for the page's port.
func (s *site) ofBrowser() (n int) {
	s.t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		s.t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(strings.Trim(s.page, "htp:/"))
	number, _ := strconv.Atoi(port)
	at := net.ParseIP(host).To4()
	slices.Reverse(at)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); f[1] == fmt.Sprintf("%X:%04X", []byte(at), number) && f[3] == "01" {
			n++
		}
	}
	return n
}

// With the page open under the load of the tour, and one swap after the other, it shows what the clients have counted,
// and what they hold open.
func TestWhatThePageShowsIsWhatTheLoadCounted(t *testing.T) { // its load is no company for other tests
	s := newSite(t)
	p := browser.Open(t, s.page, browser.View{})
	p.Shows("#phase", "Ready")
	load := newTour(s)
	swaps := 0
	for began := time.Now(); time.Since(began) < lasting(); swaps++ {
		s.Control("reload")
		p.Shows("#build", fmt.Sprintf("generation %d ", swaps+2))
		until := load.counted() + 1000
		flow.Eventually(t, "1000 requests more", func() bool { return load.counted() > until })
		s.eventually("a generation is gone", func(st drain.Status) bool { return len(st.Older) < 3 })
	}
	load.out.Store(true)
	s.eventually("the older generations are gone", func(st drain.Status) bool { return len(st.Older) == 0 })
	flow.Eventually(t, "the page shows the requests that were sent", func() bool {
		return p.Text("#requests") == number(load.counted())
	})
	const held, silent = 3, 2
	release := s.hold(held)
	for range silent {
		c := draintest.Client{Addr: s.Addr, Timeout: flow.Patience}
		if err := c.Connect(); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	// The browser's own are open too: one of them asks, others rest, or have not said a word yet.
	var open map[string][]int
	browsers := 0
	flow.Eventually(t, "the page shows the connections that are open", func() bool {
		before := s.ofBrowser()
		open = rows(p, "#connections")
		browsers = s.ofBrowser()
		within := func(kind string, least int) bool {
			return len(open[kind]) == 1 && open[kind][0] >= least && open[kind][0] <= least+browsers
		}
		return before == browsers && within("at rest", load.Kept()) && within("in a request", held+1) &&
			within("new", silent) && open["all"][0] == load.Kept()+held+silent+browsers
	})
	if n := release(); n != held {
		t.Errorf("%d of the %d requests that were held have been answered", n, held)
	}
	sent := load.counted() + held
	p.Shows("#requests", number(sent))
	load.Stop()
	if len(load.failed) > 0 || load.reconnect > 0 {
		t.Errorf("%d requests failed, %d reconnects: %v", len(load.failed), load.reconnect, load.failed)
	}
	t.Logf("%d swaps: the clients have sent %s requests, the page shows %s (%s lost), and has asked %d times",
		swaps, number(sent), p.Text("#requests"), p.Text("#lost"), p.Answers("status.json"))
	if got := p.Text("#swaps"); got != strconv.Itoa(swaps) ||
		p.Text("#lost") != "0" || p.Text("#failed") != "0 failed" {
		t.Errorf("%s swaps, %s, %s lost; want %d and nothing else", got, p.Text("#failed"), p.Text("#lost"), swaps)
	}
	t.Logf("the clients hold %d connections at rest, %d in a request and %d that have sent nothing, the browser %d; "+
		"the page shows %v", load.Kept(), held, silent, browsers, open)
	ledger := rows(p, "#ledger")
	t.Logf("its ledger: %v", ledger)
	moved, adopted := ledger["Handed over to others"][0], ledger["Taken over from others"][0]
	for _, none := range []string{"Requests, perhaps lost", "Cut off", "Unfinished by their clients", "No request",
		"Told to end for their age", "Log lines dropped"} {
		if ledger[none][0] != 0 {
			t.Errorf("%s: %d in the ledger", none, ledger[none][0])
		}
	}
	// No client has connected again: each of their connections has come from the first generation.
	if moved != adopted || moved < load.Kept() {
		t.Errorf("%d were handed over and %d taken over, want as many, and %d at least", moved, adopted, load.Kept())
	}
	if asked := ledger["Requests of probers, operators"][0]; asked < p.Answers("status.json")-1 {
		t.Errorf("operators have asked %d times, the page alone %d times", asked, p.Answers("status.json"))
	}
}

// number is as the page writes it.
func number(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// 10,000 connections, 5 generations and 20 probers: the page draws them, and the service has no pause for that.
func TestTenThousandConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 10,000 connections")
	}
	const conns, generations = 10000, 5
	s := newSite(t, "-max-generations", "16", "-drain-timeout", "10m")
	one := draintest.Client{Addr: s.Addr, Timeout: flow.Patience, Blind: true}
	for n := 1; n < generations; n++ {
		s.hold(1)
		s.Control("reload")
	}
	for range conns {
		c := one
		defer c.Close()
		if _, err := c.Echo("/echo", []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	s.probe(20, time.Second, "HAProxy check")

	ask := func() (slowest []time.Duration) {
		for began := time.Now(); time.Since(began) < 3*time.Second; {
			asked := time.Now()
			if _, err := one.Echo("/echo", []byte("ping")); err != nil {
				t.Fatal(err)
			}
			slowest = append(slowest, time.Since(asked))
		}
		slices.Sort(slowest)
		return slowest
	}
	without := ask()
	p := browser.Open(t, s.page, browser.View{})
	p.Shows("#openIn", "4 in 4 older generations")
	p.Shows("#pull", "Not pulled. A pull would wait for 20 probers.")
	open := rows(p, "#connections")
	if rest, all := open["at rest"][0], open["all"]; rest < conns || all[0] > conns+100 || // probers, the browser
		!slices.Equal(all[1:], []int{1, 1, 1, 1}) || browser.Eval[int](p, `timeline.children.length`) != generations {
		t.Errorf("connections: %v", open)
	}
	if n := browser.Eval[int](p, `probers.tBodies[0].rows.length`); n != 20 {
		t.Errorf("%d probers are drawn", n)
	}
	asked := p.Answers("status.json")
	with := ask()
	if asks := p.Answers("status.json") - asked; asks < 2 {
		t.Errorf("the page has asked %d times", asks)
	}
	// No measure of how fast a machine is: a pause that the page makes is longer than those without it.
	if most := max(time.Second, 3*slices.Max(without)); slices.Max(with) > most {
		t.Errorf("with the page open a request took %v, want less than %v", slices.Max(with), most)
	}
	if total := s.Status().Total; total.Lost != 0 || p.Text("#lost") != "0" {
		t.Errorf("lost: %s on the page, %v", p.Text("#lost"), total)
	}
	p.Shot("crowd")
	at := func(d []time.Duration, share float64) time.Duration {
		return d[int(share*float64(len(d)-1))].Round(10 * time.Microsecond)
	}
	t.Logf("a request took %v, the 99th of 100 %v, the slowest %v; "+
		"with the page open, which asked %d times, %v, %v and %v",
		at(without, .5), at(without, .99), at(without, 1),
		p.Answers("status.json")-asked, at(with, .5), at(with, .99), at(with, 1))
}
