package work

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var errOver = errors.New("over")

const grace = 10 * time.Second

// crowd calls f.context n times and returns, on receipt, after how long each has ended: -1 where first was not called
// once.
func crowd(f *Farewell, n int) func() []time.Duration {
	start := time.Now()
	ends := make(chan time.Duration, n)
	for range n {
		first := 0
		ctx := f.Context(context.Background(), func() { first++ })
		go func() {
			<-ctx.Done()
			end := time.Since(start)
			if time.Sleep(grace); first == 1 {
				ends <- end
			} else {
				ends <- -1
			}
		}()
	}
	return func() []time.Duration {
		all := make([]time.Duration, n)
		for i := range all {
			all[i] = <-ends
		}
		slices.Sort(all)
		return all
	}
}

// wantSpread wants each tenth of the time from begin to end to have about a tenth of what has happened.
func wantSpread(t *testing.T, all []time.Duration, begin, end time.Duration) {
	t.Helper()
	if all[0] < begin || all[len(all)-1] > end {
		t.Errorf("from %v to %v; want within %v to %v", all[0], all[len(all)-1], begin, end)
	}
	var tenths [10]int
	for _, d := range all {
		tenths[min(9, max(0, int(10*(d-begin)/(end-begin))))]++
	}
	for i, n := range tenths {
		if n < len(all)/20 || n > len(all)/5 { // of 1000, 50 and 200 are five and ten times the deviation away
			t.Errorf("%d of %d in tenth %d: %v", n, len(all), i, tenths)
		}
	}
}

func wantNobodyKept(t *testing.T, f *Farewell) {
	t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) > 0 {
		t.Errorf("%d are kept", len(f.waiting))
	}
}

func TestDrainingIsToldToEachInItsTurn(t *testing.T) {
	for _, c := range []struct{ share, within time.Duration }{
		{0, grace}, {grace, grace}, {grace / 1000, grace}, {grace / 2000, grace / 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := NewFarewell(errOver)
			ends := crowd(f, 1000)
			time.Sleep(time.Hour)
			f.Begin(grace, c.share)
			all := ends()
			wantSpread(t, all, time.Hour, time.Hour+c.within)
			if late := crowd(f, 1)()[0]; c.within < grace && late > grace/100 {
				t.Errorf("who comes then is told after %v", late)
			}
			wantNobodyKept(t, f)
		})
	}
}

func TestWhoComesWhileDrainingIsToldByTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFarewell(errOver)
		f.Begin(grace, 0)
		time.Sleep(grace / 2)
		all := crowd(f, 4000)()
		late := slices.IndexFunc(all, func(d time.Duration) bool { return d > 0 })
		if late < 1600 || late > 2400 {
			t.Errorf("%d of 4000 are told at once half way; want about half", late)
		}
		wantSpread(t, all[late:], 0, grace/2)
		time.Sleep(time.Until(f.until)) // the last of the crowd was told a little sooner
		if ctx := f.Context(t.Context(), func() {}); ctx.Err() == nil {
			t.Error("when all is over, a context goes on")
		}
	})
}

func TestAHurryNeverTellsLater(t *testing.T) {
	for _, c := range []struct {
		name             string
		at, within, last time.Duration
	}{
		{"early", grace / 5, grace / 10, grace/5 + grace/10},
		{"too late to matter", grace - grace/20, grace / 10, grace},
		{"the end", grace / 2, 0, grace / 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := NewFarewell(errOver)
				ends := crowd(f, 1000)
				f.Begin(grace, 0)
				time.Sleep(c.at)
				f.Begin(c.within, 0)
				all := ends()
				i := slices.IndexFunc(all, func(d time.Duration) bool { return d > c.at })
				if i < 0 {
					i = len(all)
				}
				if told := float64(i) / 1000; c.within > 0 && (told < c.at.Seconds()/grace.Seconds()-0.1 ||
					told > c.at.Seconds()/grace.Seconds()+0.1) {
					t.Errorf("%d of 1000 were told by %v of %v", i, c.at, grace)
				}
				if c.name == "early" {
					wantSpread(t, all[i:], c.at, c.last)
				}
				if all[0] < 0 || all[999] > c.last {
					t.Errorf("told from %v to %v; want each once, by %v", all[0], all[999], c.last)
				}
				wantNobodyKept(t, f)
			})
		})
	}
}

func TestDrainingEndsWithItsParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFarewell(errOver)
		parent, cancel := context.WithCancel(t.Context())
		told := false
		tell := func() { told = true }
		before := f.Context(parent, tell)
		early, leave := context.WithCancel(t.Context())
		_ = f.Context(early, tell)
		leave()
		synctest.Wait()
		f.Begin(grace, 0)
		var during context.Context
		for during == nil || during.Err() != nil { // most draw a moment to come
			told = false
			during = f.Context(parent, tell)
		}
		cancel()
		if time.Sleep(grace); told {
			t.Error("told when it has ended")
		}
		for _, ctx := range []context.Context{before, during} {
			if !errors.Is(context.Cause(ctx), context.Canceled) {
				t.Errorf("cause %v", context.Cause(ctx))
			}
		}
		wantNobodyKept(t, f)
		for range 10 {
			_ = f.Context(parent, func() {})
		}
		wantNobodyKept(t, f)
	})
}
