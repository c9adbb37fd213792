package health

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// checked is a Config whose Healthy is f; calls has how often that was asked, and said what HealthChanged was told.
func checked(f func(ctx context.Context) error) (cfg Config, calls *atomic.Int32, said *[]string) {
	calls, said = new(atomic.Int32), new([]string)
	cfg.Healthy = func(ctx context.Context) error { calls.Add(1); return f(ctx) }
	cfg.HealthChanged = func(err error) {
		first, _, _ := strings.Cut(fmt.Sprint(err), "\n")
		*said = append(*said, first)
	}
	return cfg, calls, said
}

// Whatever Healthy does, each probe is answered within a second, once.
func TestWhateverHealthyDoesAProbeIsAnswered(t *testing.T) {
	never := make(chan struct{})
	for name, tc := range map[string]struct {
		check  func(ctx context.Context) error
		status int
		want   string // in the body
		within time.Duration
	}{
		"nil": {func(context.Context) error { return nil }, 200, "success", 0},
		"an error": {func(context.Context) error { return errors.New("no \"database\"") },
			503, `"not healthy: no \"database\""}`, 0},
		"a long error": {func(context.Context) error { return errors.New(strings.Repeat("é", 300) + "\nx") },
			503, `é…"}`, 0},
		"a panic": {func(context.Context) error { panic("boom") }, 503, `"not healthy: panic: boom"}`, 0},
		"Goexit":  {func(context.Context) error { runtime.Goexit(); return nil }, 503, "Goexit", 0},
		"slow": {func(context.Context) error { time.Sleep(900 * time.Millisecond); return nil },
			200, "success", 900 * time.Millisecond},
		"it hangs": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 503,
			"not healthy:", time.Second},
		"it is deaf": {func(context.Context) error { <-never; return nil }, 503,
			"not healthy: the check does not return within 1s", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				never = make(chan struct{})
				defer func() { close(never); synctest.Wait() }()
				cfg, calls, said := checked(tc.check)
				cfg.Status = 501 // as a flag's default sets it
				s := newState(t, cfg)
				begun := time.Now()
				var all sync.WaitGroup
				for range 50 {
					all.Go(func() {
						w := httptest.NewRecorder()
						s.ServeHTTP(w, request("GET", balancer, "b"))
						if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) || w.Body.Len() > 300 {
							t.Errorf("%d %s, want %d with %s", w.Code, w.Body, tc.status, tc.want)
						}
					})
				}
				all.Wait()
				if took := time.Since(begun); took != tc.within {
					t.Errorf("they are answered after %v, want %v", took, tc.within)
				}
				if n := calls.Load(); n != 1 {
					t.Errorf("50 probes make %d calls, want 1", n)
				}
				if ill := tc.status != 200; ill != (len(*said) == 1) || ill != (s.Unhealthy() != nil) {
					t.Errorf("told %q, unhealthy: %v", *said, s.Unhealthy())
				}
			})
		})
	}
}

// Healthy is asked once at a time, ten times a second at most, and not while pulled.
func TestHealthyIsAskedSeldom(t *testing.T) {
	var err error
	cfg, calls, said := checked(func(context.Context) error { return err })
	cfg.Status = 500
	bubble(t, cfg, func(t *testing.T, s *State) {
		want := func(status, most int) {
			t.Helper()
			calls.Store(0)
			for range 1000 {
				if got := probe(s, balancer); got != status {
					t.Fatalf("answered %d, want %d", got, status)
				}
				time.Sleep(time.Millisecond)
			}
			if n := int(calls.Load()); n > most {
				t.Errorf("1000 probes in a second make %d calls, want %d at most", n, most)
			}
		}
		want(200, 10)
		err = errors.New("ill")
		time.Sleep(checkAge)
		want(500, 10)
		s.Pull()
		want(500, 0)
		s.Restore()
		err = nil
		want(200, 10)
		if !slices.Equal(*said, []string{"ill", "<nil>"}) {
			t.Errorf("told %q", *said)
		}
	})
}

// HealthChanged is told each change in its order, one at a time, however long it takes.
func TestHealthChangedIsToldInOrder(t *testing.T) {
	var err error
	cfg, _, said := checked(func(context.Context) error { return err })
	var running atomic.Int32
	note := cfg.HealthChanged
	cfg.HealthChanged = func(err error) {
		if running.Add(1) > 1 {
			t.Error("it is called while it runs")
		}
		time.Sleep(time.Second)
		note(err)
		running.Add(-1)
	}
	bubble(t, cfg, func(t *testing.T, s *State) {
		var probes sync.WaitGroup
		for _, err = range []error{errors.New("ill"), nil, errors.New("ill again"), nil} {
			probes.Go(func() { probe(s, balancer) })
			time.Sleep(2 * checkAge)
			if got := s.Unhealthy(); !errors.Is(got, err) {
				t.Errorf("unhealthy: %v, want %v", got, err)
			}
		}
		probes.Wait()
		if !slices.Equal(*said, []string{"ill", "<nil>", "ill again", "<nil>"}) {
			t.Errorf("told %q", *said)
		}
	})
}

// A probe that is late with what an earlier check has said changes nothing; nor does one that has given up a check
// which has returned since.
func TestALateProbeIsNotBelieved(t *testing.T) {
	var told []error
	c := checkup{changed: func(err error) { told = append(told, err) }}
	over := make(chan struct{})
	close(over)
	ill := errors.New("ill")
	first, second := &check{over: over, err: ill}, &check{begun: time.Now(), over: over}
	c.note(second, nil)
	c.note(first, ill)
	c.note(second, errCheckHangs)
	if c.bad.Load() != nil || len(told) > 0 {
		t.Errorf("unhealthy: %v; told %v", *c.bad.Load(), told)
	}
}

// A pull that begins while a probe waits for Healthy is what that probe hears of, and its answer counts.
func TestAPullBeginsDuringACheck(t *testing.T) {
	cfg, _, _ := checked(func(context.Context) error { time.Sleep(500 * time.Millisecond); return nil })
	bubble(t, cfg, func(t *testing.T, s *State) {
		meanwhile(t, func() { time.Sleep(100 * time.Millisecond); s.Pull() })
		if got := probe(s, balancer); got != 501 {
			t.Errorf("answered %d", got)
		}
		if p := s.Probers(); p[0].Failures != 1 {
			t.Errorf("%+v", p)
		}
	})
}

// Balancers recheck faster, or slower, what they have found ill. Their rhythm is what it was, and a pull then is
// noticed as any other, by answers that have come since.
func TestAnIllServiceTeachesNoRhythm(t *testing.T) {
	for _, recheck := range []time.Duration{200 * time.Millisecond, 700 * time.Millisecond, 5 * time.Second} {
		var err error
		cfg, _, _ := checked(func(context.Context) error { return err })
		bubble(t, cfg, func(t *testing.T, s *State) {
			probeEvery(s, 2*time.Second, 8)
			err = errors.New("ill")
			probeEvery(s, recheck, 30)
			if p := s.Probers()[0]; p.Interval != 2*time.Second {
				t.Errorf("rechecked every %v, its interval is %v", recheck, p.Interval)
			}
			err = nil
			time.Sleep(checkAge)
			probeEvery(s, 2*time.Second, 2)
			wantPull(t, s, 4*time.Second+acting, func() { probeEvery(s, 2*time.Second, 4) })
		})
	}
}
