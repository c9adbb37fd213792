//go:build unix

package drain_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"syscall"
	"testing"
)

// onShutdown is what a program gives to http.Server.RegisterOnShutdown. To call it twice is a panic.
func (g *gen) onShutdown() {
	g.note("on shutdown")
	close(g.over)
}

// events is a stream that ends when the server shuts down.
func (g *gen) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: hello\n\n")
	_ = http.NewResponseController(w).Flush()
	select {
	case <-g.over:
		_, _ = io.WriteString(w, "event: bye\n\n")
	case <-r.Context().Done():
	}
}

// stream begins a stream of events; what it returns wants its proper end.
func stream(t testing.TB, client *http.Client, url string) (wantBye func()) {
	t.Helper()
	resp := have(client.Get(url + "/events"))(t)
	t.Cleanup(func() { _ = resp.Body.Close() })
	r := bufio.NewReader(resp.Body)
	if line, err := r.ReadString('\n'); err != nil || line != "data: hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return func() {
		t.Helper()
		if b, err := io.ReadAll(r); err != nil || string(b) != "\nevent: bye\n\n" {
			t.Errorf("%q, %v", b, err)
		}
	}
}

// What the program has registered is called when draining begins, once in each generation, however many
// listeners the server has, and not in a pull.
func TestOnShutdown(t *testing.T) {
	t.Parallel()
	cert, key := pair(t)
	for _, stops := range []bool{true, false} {
		t.Run(fmt.Sprint("stop ", stops), func(t *testing.T) {
			second, secure := freePort(t), freePort(t)
			s := start(t, plan{OnShutdown: true, DrainTimeout: 2 * hung, Again: [][3]string{{second}, {secure, cert, key}}})
			plain, h2 := &http.Client{Transport: new(http.Transport)}, newH2Client(t, secure)
			var byes []func()
			for _, address := range []string{s.address(), second} {
				byes = append(byes, stream(t, plain, "http://"+address))
			}
			byes = append(byes, stream(t, h2.Client, h2.url))
			s.signal(s.pgid, syscall.SIGUSR2)
			s.event(1, "pull noticed")
			if slices.ContainsFunc(s.since(0), noted(1, "on shutdown")) {
				t.Error("called in a pull")
			}
			if stops {
				s.signal(s.pgid, syscall.SIGTERM)
			} else {
				s.signal(s.pgid, syscall.SIGUSR1)
				s.event(1, "restored")
				s.swap()
			}
			for _, bye := range byes {
				bye()
			}
			s.wantExit(s.pgid, 0)
			if !stops {
				s.stop()
			}
			s.gone()
			s.wantOnceEach("on shutdown")
			s.wantNothingLost()
			s.wantQuickEnds(hung)
		})
	}
}

// wantOnceEach wants the note once of each generation.
func (s *service) wantOnceEach(note string) {
	s.Helper()
	times := make(map[int]int)
	for _, r := range s.since(0) {
		if r.Note == note {
			times[r.Gen]++
		}
	}
	for gen := range s.main().Gen {
		if n := times[gen+1]; n != 1 {
			s.Errorf("%q %d times in generation %d", note, n, gen+1)
		}
	}
}
