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
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/browser"
	"github.com/baton-go/baton/examples/internal/flow"
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
			s := newSite(t, "-pull-max", "1h")
			s.probe(3, 300*time.Millisecond, "HAProxy check")
			load := flow.NewLoad(t, s.Addr, 8, 0) // a balancer that sends new connections would hold up the pull
			p := browser.Open(t, s.page, v)
			p.Shows("#phase", "Ready")
			p.Shows("#build", "v1 · generation 1 · pid "+strconv.Itoa(s.PID()))
			browser.Eval[bool](p, `(() => { window.jumps = 0; new PerformanceObserver(l => l.getEntries().forEach(e => {
				if (!e.hadRecentInput) jumps += e.value })).observe({type: "layout-shift"}); return true })()`)
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

// With the page open, and a swap each two seconds, the requests that it shows are those that the clients have sent.
func TestWhatThePageShowsIsWhatTheLoadCounted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := browser.Open(t, s.page, browser.View{})
	p.Shows("#phase", "Ready")
	load := flow.NewLoad(t, s.Addr, 32, 8)
	swaps := 0
	for began := time.Now(); time.Since(began) < lasting(); swaps++ {
		s.Control("reload")
		p.Shows("#build", fmt.Sprintf("generation %d ", swaps+2))
		load.Flows(1000)
	}
	load.Lossless()
	s.eventually("the older generations are gone", func(st drain.Status) bool { return len(st.Older) == 0 })
	sent := number(load.Requests())
	flow.Eventually(t, "the page shows the requests that were sent", func() bool { return p.Text("#requests") == sent })
	t.Logf("%d swaps: the clients have sent %s requests, the page shows %s (%s lost), and has asked %d times",
		swaps, sent, p.Text("#requests"), p.Text("#lost"), p.Answers("status.json"))
	if got := p.Text("#swaps"); got != strconv.Itoa(swaps) ||
		p.Text("#lost") != "0" || p.Text("#failed") != "0 failed" {
		t.Errorf("%s swaps, %s, %s lost; want %d and nothing else", got, p.Text("#failed"), p.Text("#lost"), swaps)
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
	hold, release := context.WithCancel(context.Background())
	var held sync.WaitGroup
	defer held.Wait()
	defer release()
	for n := 1; n < generations; n++ {
		held.Go(func() { // a request that keeps its generation, however long the rest takes: its body does not end
			body, end := io.Pipe()
			context.AfterFunc(hold, func() { _ = end.Close() }) // the transport waits for its reader
			req, _ := http.NewRequestWithContext(hold, "POST", "http://"+s.Addr+"/echo", body)
			if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
				_ = resp.Body.Close()
			}
		})
		s.eventually("the slow request has come", func(st drain.Status) bool { return st.Open.Active > 0 })
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
	if n := p.Text("#connections tr.sum td"); len(n) < len("10,000") ||
		browser.Eval[int](p, `timeline.children.length`) != generations {
		t.Errorf("%s connections, %s", n, p.Text("#pull"))
	}
	asked := p.Answers("status.json")
	with := ask()
	p.Shot("crowd")
	at := func(d []time.Duration, share float64) time.Duration {
		return d[int(share*float64(len(d)-1))].Round(10 * time.Microsecond)
	}
	t.Logf("a request took %v, the 99th of 100 %v, the slowest %v; "+
		"with the page open, which asked %d times, %v, %v and %v",
		at(without, .5), at(without, .99), at(without, 1),
		p.Answers("status.json")-asked, at(with, .5), at(with, .99), at(with, 1))
}
