package later

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"
)

// stuck is a handler that writes nothing before its reader goes on.
type stuck struct {
	slog.Handler
	reads <-chan struct{}
}

func (s stuck) Handle(ctx context.Context, r slog.Record) error {
	<-s.reads
	return s.Handler.Handle(ctx, r)
}

// plain writes what a test looks at: no time.
func plain(w *bytes.Buffer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
}

func TestQueueOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Queue
		var got []int
		for i := range 10 {
			q.Put(func() { got = append(got, i) })
		}
		synctest.Wait()
		if len(got) != 0 {
			t.Fatalf("ran before Start: %v", got)
		}
		q.Start()
		q.Start()
		q.Put(func() { q.Put(func() { got = append(got, 11) }); got = append(got, 10) })
		synctest.Wait()
		if fmt.Sprint(got) != "[0 1 2 3 4 5 6 7 8 9 10 11]" {
			t.Error(got)
		}
	})
}

// A function that never returns holds up neither Put nor, for longer than it wants, Flush.
func TestQueueStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Queue
		q.Start()
		over := make(chan struct{})
		q.Put(func() { <-over })
		for range 1000 {
			q.Put(func() {})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if q.Flush(ctx) || time.Since(begun) != time.Second {
			t.Errorf("flushed after %v", time.Since(begun))
		}
		close(over)
		if !q.Flush(t.Context()) {
			t.Error("not flushed")
		}
	})
}

// Many put and flush at once: what a goroutine has put has run when its Flush returns.
func TestQueueConcurrent(t *testing.T) {
	var q Queue
	q.Start()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			n := 0
			for i := range 200 {
				q.Put(func() { n++ })
				if i%10 == 0 && (!q.Flush(t.Context()) || n != i+1) {
					t.Errorf("%d of %d have run", n, i+1)
				}
			}
			q.Flush(t.Context())
			if n != 200 {
				t.Error(n)
			}
		})
	}
	wg.Wait()
}

func TestHandlerMeansTheSame(t *testing.T) {
	var b bytes.Buffer
	h := NewHandler(slog.NewJSONHandler(&b, nil))
	err := slogtest.TestHandler(h, func() (all []map[string]any) {
		h.Flush(t.Context())
		for line := range strings.Lines(b.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
		return all
	})
	if err != nil {
		t.Error(err)
	}
}

func TestHandlerLevel(t *testing.T) {
	var b bytes.Buffer
	h := NewHandler(plain(&b))
	log := slog.New(h)
	log.Debug("debug")
	log.Info("info")
	if !h.Flush(t.Context()) || b.String() != "level=INFO msg=info\n" || h.Dropped() != 0 {
		t.Errorf("%q, %d dropped", b.String(), h.Dropped())
	}
}

// What happened is stamped with the moment in which it happened, not in which it was written.
func TestHandlerTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		reads := make(chan struct{})
		h := NewHandler(stuck{slog.NewTextHandler(&b, nil), reads})
		now := time.Now()
		slog.New(h).Info("x")
		time.Sleep(time.Hour)
		close(reads)
		h.Flush(t.Context())
		if want := "time=" + now.Format("2006-01-02T15:04:05.000Z07:00"); !strings.HasPrefix(b.String(), want) {
			t.Errorf("%q; want %s", b.String(), want)
		}
	})
}

// A reader that has stopped holds nobody up. What does not fit is counted, and said in its place.
func TestHandlerStuck(t *testing.T) {
	for _, size := range []int{1, maxBytes / 8} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b bytes.Buffer
				reads := make(chan struct{})
				h := NewHandler(stuck{plain(&b), reads})
				log := slog.New(h).With("pid", 7)
				fits := min(maxLines, maxBytes/(size+1))
				line := func(i int) { log.Info("x", "i", i, "fill", strings.Repeat("x", size)) }
				for i := range fits + 5 {
					line(i)
				}
				if h.Dropped() != 5 {
					t.Errorf("%d dropped", h.Dropped())
				}
				reads <- struct{}{} // one is written: one fits
				reads <- struct{}{}
				synctest.Wait()
				line(-1)
				line(-2)
				line(-3)
				line(-4)
				close(reads)
				synctest.Wait()
				got := strings.Split(strings.TrimSpace(b.String()), "\n")
				if len(got) != fits+2+2 {
					t.Fatalf("%d lines; want %d", len(got), fits+4)
				}
				for i, want := range []string{"lines=5 dropped=7", " i=-1 ", " i=-2 ", "lines=2 dropped=7"} {
					if line := got[fits+i]; !strings.Contains(line, want) || !strings.Contains(line, "pid=7") {
						t.Errorf("%.200s; want %s", line, want)
					}
				}
				b.Reset()
				line(0)
				if !h.Flush(t.Context()) || !strings.HasPrefix(b.String(), "level=INFO msg=x i=0 ") {
					t.Errorf("%.200s", b.String())
				}
			})
		})
	}
}

type failing struct{ slog.Handler }

func (failing) Handle(context.Context, slog.Record) error { return errors.New("broken pipe") }

// What the next handler could not write is counted, too.
func TestHandlerFails(t *testing.T) {
	h := NewHandler(failing{slog.NewTextHandler(nil, nil)})
	log := slog.New(h)
	for range 3 {
		log.Info("x")
		log.Debug("not wanted, and so not missing")
	}
	h.Flush(t.Context())
	if n := h.Dropped(); n != 3 {
		t.Errorf("%d dropped; want 3", n)
	}
}

// broken is a handler with a bug, in one of its methods.
type broken struct {
	slog.Handler
	enabled, handle func()
}

func (b broken) Enabled(ctx context.Context, l slog.Level) bool {
	b.enabled()
	return b.Handler.Enabled(ctx, l)
}

func (b broken) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "bad") {
		b.handle()
	}
	return b.Handler.Handle(ctx, r)
}

// A log with a bug ends no service: its line is counted, and those behind it are written.
func TestHandlerBreaks(t *testing.T) {
	var none *broken
	for name, bug := range map[string]func(){
		"panic":        func() { panic("a bug") },
		"panic of nil": func() { panic(nil) },
		"nil pointer":  func() { none.enabled() },
		"Goexit":       runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b bytes.Buffer
				h := NewHandler(broken{plain(&b), func() {}, bug})
				log := slog.New(h)
				for _, line := range []string{"one", "bad", "bad", "two", "bad"} {
					log.Info(line)
				}
				synctest.Wait()
				log.Info("three")
				const want = "level=INFO msg=one\nlevel=INFO msg=two\nlevel=INFO msg=three\n"
				if !h.Flush(t.Context()) || b.String() != want {
					t.Errorf("%q; want %q", b.String(), want)
				}
				if h.Dropped() != 3 || h.waiting != 0 || h.bytes != 0 {
					t.Errorf("%d dropped, want 3; %d lines and %d bytes wait, want none",
						h.Dropped(), h.waiting, h.bytes)
				}
			})
		})
		t.Run(name+" in Enabled", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHandler(broken{plain(new(bytes.Buffer)), bug, func() {}})
				for range maxLines + 1 { // the last one does not fit, and the line that says so breaks too
					slog.New(h).Info("x")
				}
				synctest.Wait()
				if !h.Flush(t.Context()) || h.Dropped() != maxLines+1 || h.waiting != 0 {
					t.Errorf("%d dropped, want %d; %d wait", h.Dropped(), maxLines+1, h.waiting)
				}
			})
		})
	}
}

// A function that ends its goroutine, as t.FailNow does, stops nothing behind it.
func TestQueueGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Queue
		var got []int
		for i := range 6 {
			q.Put(func() {
				got = append(got, i)
				if i%2 == 0 {
					runtime.Goexit()
				}
			})
		}
		q.Start()
		synctest.Wait()
		q.Put(func() { got = append(got, 6) })
		if !q.Flush(t.Context()) || fmt.Sprint(got) != "[0 1 2 3 4 5 6]" {
			t.Error(got)
		}
	})
}
