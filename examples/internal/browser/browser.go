//go:build linux

// Package browser has tests look at pages with a real Chromium.
package browser

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/baton-go/baton/examples/internal/flow"
)

// View is how a page is looked at.
type View struct {
	Width, Height int64  // default 1100 by 800; below 500 it is a phone
	Dark          bool   // prefers-color-scheme
	Rules         string // --host-resolver-rules, such as "MAP evil.test 127.0.0.1"
}

// Page is a tab of a Chromium of its own.
type Page struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	errors   []string
	answers  map[string]int // by the last part of the path
	requests map[network.RequestID]string
}

// Open opens url until the end of the test. Without a Chromium the test is skipped.
func Open(t testing.TB, url string, v View) *Page {
	t.Helper()
	// Debian's is a shell script, behind which the browser would outlive the test.
	path, err := exec.LookPath("/usr/lib/chromium/chromium-headless-shell")
	if err != nil {
		path, err = exec.LookPath("chromium-headless-shell")
	}
	if err != nil {
		flow.Missing(t, "chromium", "apt-get install chromium-headless-shell")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("host-resolver-rules", v.Rules),
		chromedp.UserDataDir(flow.Dir(t)), // its last writes may come after its end
		chromedp.WSURLReadTimeout(flow.Patience))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
	// Its errors are of events that chromedp does not know.
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(func() { cancel(); stop() })
	p := &Page{t: t, ctx: ctx, answers: map[string]int{}, requests: map[network.RequestID]string{}}
	chromedp.ListenTarget(ctx, p.hear)
	if v.Width == 0 {
		v.Width = 1100
	}
	if v.Height == 0 {
		v.Height = 800
	}
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	p.do(network.Enable(), log.Enable(), emulation.SetDeviceMetricsOverride(v.Width, v.Height, 1, v.Width < 500),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme},
		}))
	p.Go(url)
	return p
}

// hear must not block.
func (p *Page) hear(e any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := e.(type) {
	case *runtime.EventExceptionThrown:
		p.errors = append(p.errors, e.ExceptionDetails.Error())
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError && e.Entry.Source != log.SourceNetwork {
			p.errors = append(p.errors, e.Entry.Text)
		}
	case *network.EventResponseReceived:
		name := e.Response.URL[strings.LastIndexByte(e.Response.URL, '/')+1:]
		p.requests[e.RequestID] = name
	case *network.EventLoadingFinished:
		p.answers[p.requests[e.RequestID]]++
	}
}

func (p *Page) do(actions ...chromedp.Action) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, flow.Patience)
	defer cancel()
	if p.ctx.Err() == nil && chromedp.FromContext(p.ctx).Target == nil {
		ctx = p.ctx // the first call is the browser's life
	}
	if err := chromedp.Run(ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// Go goes to another page.
func (p *Page) Go(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
}

// Errors are the exceptions of scripts, and what the policy of the page has forbidden.
func (p *Page) Errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.errors...)
}

// Answers is how often the part of that name has come.
func (p *Page) Answers(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answers[name]
}

// Eval returns what a script says, waiting for a promise.
func Eval[T any](p *Page, script string) (v T) {
	p.t.Helper()
	p.do(chromedp.Evaluate(script, &v, func(e *runtime.EvaluateParams) *runtime.EvaluateParams {
		return e.WithAwaitPromise(true)
	}))
	return v
}

// Text is what stands in the first element that a selector finds.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	return Eval[string](p, fmt.Sprintf("(document.querySelector(%q) || {textContent: ''}).textContent", selector))
}

// Shows waits until the element has that text in it.
func (p *Page) Shows(selector, text string) {
	p.t.Helper()
	for end := time.Now().Add(flow.Patience); ; time.Sleep(20 * time.Millisecond) {
		is := p.Text(selector)
		if strings.Contains(is, text) {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s is %q, want %q in it", selector, is, text)
		}
	}
}

// Click clicks on the element, as a mouse does.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(selector, chromedp.ByQuery, chromedp.NodeVisible))
}

// Press types a key, such as kb.Enter, where the focus is.
func (p *Page) Press(key string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(key))
}

// Shot writes a PNG of the whole page into the folder that BATON_SHOTS names, if it does: with 256 colours, which are
// enough for it and a fifth of the bytes.
func (p *Page) Shot(name string) {
	p.t.Helper()
	dir := os.Getenv("BATON_SHOTS")
	if dir == "" {
		return
	}
	var shot []byte
	p.do(chromedp.FullScreenshot(&shot, 100))
	full, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		p.t.Fatal(err)
	}
	often := map[color.Color]int{}
	for y := range full.Bounds().Dy() {
		for x := range full.Bounds().Dx() {
			often[full.At(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(often), func(a, b color.Color) int { return cmp.Compare(often[b], often[a]) })
	small := image.NewPaletted(full.Bounds(), colors[:min(256, len(colors))])
	draw.Draw(small, full.Bounds(), full, image.Point{}, draw.Src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, small); err != nil {
		p.t.Fatal(err)
	}
	flow.WriteFile(p.t, dir, name+".png", out.String())
}

// Frames are the addresses of the frames in the page: "chrome-error://…" where one may not be shown.
func (p *Page) Frames() (urls []string) {
	p.t.Helper()
	p.do(chromedp.ActionFunc(func(ctx context.Context) error {
		tree, err := page.GetFrameTree().Do(ctx)
		if err == nil {
			for _, child := range tree.ChildFrames {
				urls = append(urls, child.Frame.URL)
			}
		}
		return err
	}))
	return urls
}
