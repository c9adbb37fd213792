package main

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/baton-go/baton/drain"
)

//go:embed board.html board.css board.js
var files embed.FS

var page = template.Must(template.ParseFS(files, "board.html"))

// keep is how long a node is shown that has left the list and does not answer.
const keep = 10 * time.Minute

// row is a node as the board shows it.
type row struct {
	place
	drain.Status
	Host     string // as it calls itself
	Why      string // it is out; "": it is in
	Since    time.Time
	Rate     string // requests a second
	Answered time.Time
	listed   bool
}

type board struct {
	from source

	mu   sync.Mutex // guards what follows
	rows map[string]row
	err  error // of the list
	at   time.Time
}

func newBoard(from source) *board { return &board{from: from, rows: map[string]row{}} }

func (b *board) run(every time.Duration) {
	for tick := time.NewTicker(every); ; <-tick.C {
		b.look(context.Background())
	}
}

// look asks for the list, and then all nodes at once. Nodes that the list has forgotten are asked too.
func (b *board) look(ctx context.Context) {
	listed, err := b.from.places(ctx)
	b.mu.Lock()
	asked := map[string]row{}
	for url, r := range b.rows {
		r.listed = err != nil && r.listed // a list that fails says nothing
		asked[url] = r
	}
	b.mu.Unlock()
	for _, p := range listed {
		r := asked[p.URL]
		r.place, r.listed = p, true
		asked[p.URL] = r
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	rows := map[string]row{}
	for url, r := range asked {
		all.Go(func() {
			r.ask(ctx)
			mu.Lock()
			defer mu.Unlock()
			if r.listed || time.Since(r.Answered) < keep {
				rows[url] = r
			}
		})
	}
	all.Wait()
	b.mu.Lock()
	b.rows, b.err, b.at = rows, err, time.Now()
	b.mu.Unlock()
}

// ask asks the node how it is.
func (r *row) ask(ctx context.Context) {
	var v struct {
		Name   string
		Now    time.Time
		Status drain.Status
	}
	err := get(ctx, http.DefaultClient, r.URL+"status.json", "", "", &v)
	now := time.Now()
	before, since := r.Why, r.Since
	if err != nil {
		r.Why = "no answer: " + short(err)
	} else {
		n, old := v.Status.Total.Requests-v.Status.Total.Aside, r.Total.Requests-r.Total.Aside
		if took := now.Sub(r.Answered).Seconds(); !r.Answered.IsZero() && n >= old && took > 0 {
			r.Rate = fmt.Sprintf("%.0f", float64(n-old)/took)
		}
		r.Status, r.Host, r.Answered = v.Status, v.Name, now
		r.Why = r.why()
	}
	kind := func(why string) string { text, _, _ := strings.Cut(why, ":"); return text }
	switch {
	case err == nil && r.Why != "" && (r.Phase == drain.Pulled || r.Phase == drain.Draining):
		r.Since = now.Add(r.Status.Since.Sub(v.Now)) // by the clock of the board
	case since.IsZero() || kind(before) != kind(r.Why):
		r.Since = now
	}
}

// why is why the node is out, by its own word and by the list's.
func (r *row) why() string {
	live, noticed := 0, 0
	for _, p := range r.Probers {
		if p.Live {
			live++
			if p.Noticed {
				noticed++
			}
		}
	}
	switch {
	case r.Phase == drain.Draining || r.Phase == drain.Stopped:
		return "it stops"
	case r.Phase == drain.Starting || r.Phase == drain.Probation:
		return "it starts"
	case r.Pulled:
		return fmt.Sprintf("pulled: %d of %d probers noticed", noticed, live)
	case r.Unhealthy != "":
		return "not healthy: " + r.Unhealthy
	case !r.listed:
		return "not in the list"
	}
	return r.Out
}

// short is an error without what the row says anyhow.
func short(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "not within 2s"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}

// Symbol is for those who see no colours.
func (r row) Symbol() string {
	if r.Why == "" {
		return "●"
	}
	return cmp.Or(map[drain.Phase]string{drain.Pulled: "◆", drain.Draining: "▼"}[r.Phase], "◇")
}

// Dead tells whether the node does not answer: what else the row has is what it last said.
func (r row) Dead() bool { return strings.HasPrefix(r.Why, "no answer") }

// For is how long it has been so.
func (r row) For() string { return time.Since(r.Since).Round(time.Second).String() }

// Failed is why the last swap failed, if it did.
func (r row) Failed() string {
	if r.LastSwap == nil {
		return ""
	}
	_, why, ok := strings.Cut(r.LastSwap.Err, "serves on: ")
	if !ok {
		return r.LastSwap.Err
	}
	return why
}

func (b *board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]; name {
	case "board.css", "board.js":
		http.ServeFileFS(w, r, files, name)
	case "":
		var text bytes.Buffer
		if err := page.Execute(&text, b.view()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(text.Bytes())
	default:
		http.NotFound(w, r)
	}
}

// view is what the page is made from.
func (b *board) view() any {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := struct {
		Rows []row
		In   int
		Of   string // the versions that answer
		Err  error
		At   string
	}{Err: b.err, At: b.at.Format(time.TimeOnly)}
	versions := map[string]int{}
	for _, r := range b.rows {
		v.Rows = append(v.Rows, r)
		if r.Why == "" {
			v.In++
		}
		if !r.Dead() {
			versions[cmp.Or(r.Version, "no version")]++
		}
	}
	slices.SortFunc(v.Rows, func(a, b row) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.URL, b.URL))
	})
	var of []string
	for _, version := range slices.Sorted(maps.Keys(versions)) {
		of = append(of, fmt.Sprintf("%d × %s", versions[version], version))
	}
	v.Of = strings.Join(of, ", ")
	return v
}
