package owned

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const bound = 5 * time.Second

var errBoom = errors.New("boom")

// stage has owners that tell what they are called with, and fail as they are told.
type stage struct {
	Owners
	t    *testing.T
	log  chan string
	acts map[string]func(context.Context) error // by call; without one it succeeds
	rest chan struct{}                          // a call that rests returns when it is closed
}

func newStage(t *testing.T, names ...string) *stage {
	s := &stage{t: t, log: make(chan string, 100),
		acts: map[string]func(context.Context) error{}, rest: make(chan struct{})}
	for _, name := range names {
		if err := s.Add(name, &player{name: name, stage: s}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// player is an owner on a stage. Its state is its name, twice.
type player struct {
	*stage
	name string
	busy atomic.Bool
}

func (p *player) Acquire(ctx context.Context, r io.Reader) error {
	read := "nil"
	if r != nil {
		b, err := io.ReadAll(r)
		if err != nil {
			p.t.Error(err)
		}
		read = string(b)
	}
	return p.play(ctx, "acquire "+p.name, read)
}

func (p *player) Release(ctx context.Context, w io.Writer) error {
	if w == nil {
		return p.play(ctx, "release "+p.name, "nil")
	}
	for range 2 {
		if _, err := io.WriteString(w, p.name); err != nil {
			p.t.Error(err)
		}
	}
	return p.play(ctx, "release "+p.name, "w")
}

func (p *player) play(ctx context.Context, call, with string) error {
	if p.busy.Swap(true) {
		p.t.Errorf("%s while another method runs", call)
	}
	defer p.busy.Store(false)
	act := p.acts[call] // before the test, which gets the line, changes it
	p.log <- call + " " + with
	if act != nil {
		return act(ctx)
	}
	return nil
}

// called compares the calls since the last time, as in "acquire a nil, acquire b bb".
func (s *stage) called(when string, want ...string) {
	s.t.Helper()
	var got []string
	for len(s.log) > 0 {
		got = append(got, <-s.log)
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("%s: called %q, want %q", when, got, want)
	}
}

// must ends the test when err is not what is wanted: "" is nil, else what it contains.
func (s *stage) must(when string, err error, want ...string) {
	s.t.Helper()
	if (err == nil) != (len(want) == 0) {
		s.t.Fatalf("%s: error is %v, want %q", when, err, want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			s.t.Errorf("%s: error is %v, want %q", when, err, w)
		}
	}
}

func (s *stage) started() *stage {
	s.t.Helper()
	s.must("start", s.Owners.Acquire(s.t.Context(), States{}, bound))
	for len(s.log) > 0 {
		<-s.log
	}
	return s
}

// failures are the ways in which a call fails. Late is what it returns after rest, if it rests.
func (s *stage) failures() map[string]failure {
	rest := func(err error) func(context.Context) error {
		return func(context.Context) error { <-s.rest; return err }
	}
	return map[string]failure{
		"an error": {act: func(context.Context) error { return errBoom }, says: "boom"},
		"a panic":  {act: func(context.Context) error { panic("ouch") }, says: "panic: ouch\ngoroutine "},
		"Goexit":   {act: func(context.Context) error { runtime.Goexit(); return nil }, says: "runtime.Goexit"},
		"the end of ctx": {act: func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("wait for a lock: %w", ctx.Err())
		}, says: "wait for a lock: context deadline"},
		"nil, late":      {act: rest(nil), says: "has not returned after 5.1s", rests: true, succeeds: true},
		"an error, late": {act: rest(errBoom), says: "has not returned after 5.1s", rests: true},
	}
}

type failure struct {
	act             func(context.Context) error
	says            string
	rests, succeeds bool
}

// each runs f for each failure of the method, of each of three owners.
func each(t *testing.T, method string, f func(s *stage, at int, call string, fail failure)) {
	names := []string{"a", "b", "c"}
	for kind := range (&stage{}).failures() {
		for at, name := range names {
			t.Run(fmt.Sprintf("%s of %s ends in %s", method, name, kind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStage(t, names...)
					f(s, at, method+" "+name, s.failures()[kind])
				})
			})
		}
	}
}

// TestReleaseFails: those released before it, and the one that has given up late, are acquired with what they wrote;
// one that has given nothing up goes on with what it has. All are held then, and the next Release reaches all.
func TestReleaseFails(t *testing.T) {
	each(t, "release", func(s *stage, at int, call string, fail failure) {
		s.started()
		s.acts[call] = fail.act
		_, err := s.Owners.Release(s.t.Context(), s.Names(), bound)
		s.must("Release", err, fmt.Sprintf("owner %q: Release", s.Names()[at]), fail.says)
		s.called("Release", []string{"release c w", "release b w", "release a w"}[:3-at]...)
		delete(s.acts, call)

		again := []string{"acquire a aa", "acquire b bb", "acquire c cc"}[at:]
		if !fail.succeeds {
			again = again[1:]
		}
		if fail.rests {
			s.must("Regain", s.Regain(s.t.Context(), bound), "Release has not returned after 10.2s", s.Names()[at])
			s.called("Regain before it has returned")
			time.AfterFunc(bound/2, func() { close(s.rest) })
		}
		s.must("Regain", s.Regain(s.t.Context(), bound))
		s.called("Regain", again...)
		_, err = s.Owners.Release(s.t.Context(), nil, bound)
		s.must("Release", err)
		s.called("Release", "release c nil", "release b nil", "release a nil")
	})
}

// TestAcquireFails: those acquired before it are released in reverse. None is asked to save.
func TestAcquireFails(t *testing.T) {
	each(t, "acquire", func(s *stage, at int, call string, fail failure) {
		s.acts[call] = fail.act
		err := s.Owners.Acquire(s.t.Context(), written(s.t, "b", "c"), bound)
		s.must("Acquire", err, fmt.Sprintf("owner %q: Acquire", s.Names()[at]), fail.says)
		s.called("Acquire", append([]string{"acquire a nil", "acquire b bb", "acquire c cc"}[:at+1],
			[]string{"release b w", "release a w"}[2-at:]...)...)
		close(s.rest)
	})
}

// TestUndoFails: what fails on the way back is told too, and holds nothing up.
func TestUndoFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "a", "b", "c")
		ctx, cancel := context.WithCancel(t.Context())
		s.acts["acquire c"] = func(context.Context) error { cancel(); return errBoom }
		s.acts["release b"] = s.failures()["nil, late"].act
		s.must("Acquire", s.Owners.Acquire(ctx, States{}, bound),
			`owner "c": Acquire: boom; owner "b": Release has not`)
		s.called("Acquire", "acquire a nil", "acquire b nil", "acquire c nil", "release b w", "release a w")
		close(s.rest)
	})
}

// TestRegainFails: Acquire is repeated until it succeeds, with all that was written, and no later than the bound.
func TestRegainFails(t *testing.T) {
	each(t, "acquire", func(s *stage, at int, call string, fail failure) {
		s.started()
		states, err := s.Owners.Release(s.t.Context(), s.Names(), bound)
		s.must("Release", err)
		s.called("Release", "release c w", "release b w", "release a w")
		s.acts[call] = fail.act
		s.must("Regain", s.Regain(s.t.Context(), bound), fmt.Sprintf("owner %q: Acquire", s.Names()[at]), fail.says)
		all := []string{"acquire a aa", "acquire b bb", "acquire c cc"}
		for _, before := range all[:at] {
			if got := <-s.log; got != before {
				s.t.Errorf("%q before, want %q", got, before)
			}
		}
		times := len(s.log)
		for len(s.log) > 0 {
			if got := <-s.log; got != all[at] {
				s.t.Errorf("%q, want %q again", got, all[at])
			}
		}
		waits := fail.rests || strings.Contains(fail.says, "deadline")
		if waits && times != 1 || !waits && (times < 10 || times > 20) {
			s.t.Errorf("Acquire was called %d times", times)
		}
		close(s.rest)
		delete(s.acts, call)
		s.must("Regain", s.Regain(s.t.Context(), bound))
		if fail.succeeds { // and needs no other call
			at++
		}
		s.called("Regain", all[at:]...)
		if f := slices.DeleteFunc(states.Files(), func(f *os.File) bool { return f == nil }); len(f) > 0 {
			s.t.Errorf("%d files are open after Regain", len(f))
		}
	})
}

// TestSwap: the next generation acquires with what was written; so does this one when it regains, though both have read
// the same file; and with nil where nothing was to be written, or the next generation has served.
func TestSwap(t *testing.T) {
	s, next := newStage(t, "a", "b", "c").started(), newStage(t, "new", "c", "a")
	states, err := s.Owners.Release(t.Context(), []string{"new", "c", "a"}, bound)
	s.must("Release", err)
	s.called("Release", "release c w", "release b nil", "release a w")
	if names := states.Names(); !slices.Equal(names, []string{"c", "a"}) {
		t.Errorf("states of %q", names)
	}
	sent, err := From(states.Names(), states.Files())
	s.must("From", err)
	s.must("Acquire", next.Owners.Acquire(t.Context(), sent, bound))
	next.called("Acquire", "acquire new nil", "acquire c cc", "acquire a aa")
	s.must("Regain", s.Regain(t.Context(), bound))
	s.called("Regain", "acquire a aa", "acquire b nil", "acquire c cc")

	states, err = s.Owners.Release(t.Context(), []string{"a"}, bound)
	s.must("Release", err)
	states.Close()
	s.called("Release", "release c nil", "release b nil", "release a w")
	s.must("Regain", s.Regain(t.Context(), bound))
	s.called("Regain", "acquire a nil", "acquire b nil", "acquire c nil")
}

// TestLastStop: each saves, in its own time, whatever the others do.
func TestLastStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "a", "b", "c").started()
		s.acts["release c"] = s.failures()["nil, late"].act
		s.acts["release b"] = s.failures()["an error"].act
		_, err := s.Owners.Release(t.Context(), nil, bound)
		s.must("Release", err, `owner "c": Release has not returned after 5.1s: context deadline exceeded; `+
			`owner "b": Release: boom`)
		s.called("Release", "release c nil", "release b nil", "release a nil")
		close(s.rest)
	})
}

// TestLateRelease: a Release after one that was given up on waits for it, and reaches the owner when that has failed.
func TestLateRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "a").started()
		s.acts["release a"] = s.failures()["an error, late"].act
		_, err := s.Owners.Release(t.Context(), s.Names(), bound)
		s.must("Release", err, "has not returned after 5.1s")
		_, err = s.Owners.Release(t.Context(), nil, bound)
		s.must("Release", err, "has not returned after 10.2s")
		s.called("Release", "release a w")
		delete(s.acts, "release a")
		time.AfterFunc(bound/2, func() { close(s.rest) })
		_, err = s.Owners.Release(t.Context(), nil, bound)
		s.must("Release", err)
		s.called("Release", "release a nil")
	})
}

// TestParentEnds: the ctx of a call ends with the caller's, and no other call begins.
func TestParentEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "a", "b").started()
		ctx, cancel := context.WithCancel(t.Context())
		s.acts["release b"] = func(ctx context.Context) error { cancel(); <-ctx.Done(); return nil }
		_, err := s.Owners.Release(ctx, nil, bound)
		s.must("Release", err, `owner "a": Release is not called: context canceled`)
		s.called("Release", "release b nil")
	})
}

func TestAdd(t *testing.T) {
	s := newStage(t, "a", strings.Repeat("n", maxName))
	for name, cure := range map[string]string{
		"":                             "give it 1 to 100",
		strings.Repeat("n", maxName+1): "give it 1 to 100",
		"\xff":                         "valid UTF-8",
		"a":                            "a name of its own",
	} {
		s.must(name, s.Add(name, &player{}), cure)
	}
	s.must("nil", s.Add("b", nil), "nil")
	for i := len(s.Names()); i < maxOwners; i++ {
		s.must("Add", s.Add(fmt.Sprint(i), &player{}))
	}
	s.must("Add", s.Add("b", &player{}), "put several into one owner")
}
