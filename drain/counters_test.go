package drain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/baton-go/baton/drain"
)

// Counters of two generations. Each gives its own to Service.Own, and a swap does what is done here by hand.
func ExampleCounters() {
	var old, next drain.Counters // in each process: err := svc.Own("counters", &counters)
	old.Add(`pushes_total{code="200"}`, 3)

	var handed bytes.Buffer
	_ = old.Release(context.Background(), &handed)
	_ = next.Acquire(context.Background(), &handed)

	next.Add(`pushes_total{code="200"}`, 1)
	next.Add(`pushes_total{code="400"}`, 1)
	for name, n := range next.All() { // in the handler of /metrics
		fmt.Println(name, n)
	}
	// Output:
	// pushes_total{code="200"} 4
	// pushes_total{code="400"} 1
}

// refusing takes some bytes, and then no more.
type refusing int

var errFull = errors.New("full")

func (r *refusing) Write(p []byte) (int, error) {
	if *r -= refusing(len(p)); *r < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// TestCountersGoOn: whatever a generation counts at which moment is in the sum once. A step is of the old generation
// (o) or of the next one (n).
func TestCountersGoOn(t *testing.T) {
	const odd = "\xff \n\""
	for name, c := range map[string]struct{ steps, old, next string }{
		"nothing is counted":        {"o acquire nil, o release, n acquire", "", ""},
		"one has no name":           {"o add , o release, n acquire", " 1", " 1"},
		"a swap":                    {"o add a, o release, n acquire, n add a", "a 1", "a 2"},
		"names that one side knows": {"o add a, n add b, o release, n acquire", "a 1", "a 1, b 1"},
		"odd names":                 {"o add " + odd + ", o release, n acquire", odd + " 1", odd + " 1"},
		"before the first Acquire":  {"o add a, o acquire nil, o add a", "a 2", ""},
		"before Acquire":            {"o add a, n add a, o release, n acquire", "a 1", "a 2"},
		"nothing was handed over":   {"n add a, n acquire nil", "", "a 1"},
		"what is handed is empty":   {"n add a, n acquire empty", "", "a 1"},
		"what is handed is cut":     {"n add a, n acquire cut, n add a", "", "a 2"},
		"infinite":                  {"o add inf, o release, o acquire, o release, n acquire", "inf +Inf", "inf +Inf"},
		"regained":                  {"o add a, o release, o acquire, o add a", "a 2", ""},
		"regained, the next has it": {"o add a, o release, n acquire, n add a, o acquire, o add a", "a 2", "a 2"},
		"counted before a regain":   {"o add a, o release, o add a, o add b, o acquire", "a 2, b 1", ""},
		"regained, and a swap":      {"o add a, o release, o add a, o acquire, o release, n acquire", "a 2", "a 2"},
		"regained with nothing":     {"o add a, o release, o add a, o acquire nil, o release, n acquire", "a 2", "a 2"},
		"Release fails":             {"o add a, o release full, o add a, o release, n acquire", "a 2", "a 2"},
		"Acquire fails, and again":  {"n add a, o add a, o release, n acquire cut, n acquire", "a 1", "a 2"},
		"counted after a swap":      {"o add a, o release, n acquire, o add a", "a 2", "a 1"},
		"regained twice": {
			"o add a, o release, o add a, o acquire, o release, o add a, o acquire", "a 3", ""},
		"nobody takes it over": {
			"o add a, o release nil, o add a, o acquire nil, o release, n acquire", "a 2", "a 2"},
		"two swaps, the older goes on": {
			"o add a, o release, n acquire, n add a, o add a, n release, n add a, n acquire", "a 2", "a 3"},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]*drain.Counters{"o": {}, "n": {}}
			var handed []byte
			for step := range strings.SplitSeq(c.steps, ", ") {
				who, step, _ := strings.Cut(step, " ")
				what, arg, _ := strings.Cut(step, " ")
				is, err := all[who], error(nil)
				switch what {
				case "add":
					n := 1.0
					if arg == "inf" {
						n = math.Inf(1)
					}
					is.Add(arg, n)
				case "acquire":
					r := map[string]io.Reader{"": bytes.NewReader(handed), "empty": strings.NewReader(""),
						"cut": strings.NewReader("\x0d\x7f\x04")}[arg]
					err = is.Acquire(t.Context(), r)
				case "release":
					var b bytes.Buffer
					some := refusing(3)
					err = is.Release(t.Context(), map[string]io.Writer{"": &b, "full": &some}[arg])
					if arg == "" {
						handed = b.Bytes()
					}
				}
				fails := arg == "cut" || arg == "full"
				if (err != nil) != fails || arg == "full" && !errors.Is(err, errFull) {
					t.Fatalf("%s: %v", step, err)
				}
			}
			for who, want := range map[string]string{"o": c.old, "n": c.next} {
				var got []string
				for name, n := range all[who].All() {
					if all[who].Value(name) != n {
						t.Errorf("%s: %v", name, all[who].Value(name))
					}
					got = append(got, fmt.Sprint(name, " ", n))
				}
				if s := strings.Join(got, ", "); s != want {
					t.Errorf("%s has %q, want %q", who, s, want)
				}
			}
		})
	}
}

// TestCountersOfAFailedSwap: what goroutines count while an owner is released and acquired is there, once.
func TestCountersOfAFailedSwap(t *testing.T) {
	const workers, each, swaps = 8, 2000, 50
	var c drain.Counters
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			before := 0.0
			for range each {
				c.Add("a", 1)
				if now := c.Value("a"); now <= before {
					t.Errorf("%v after %v", now, before)
				} else {
					before = now
				}
			}
		})
	}
	for range swaps {
		var b bytes.Buffer
		if err := errors.Join(c.Release(t.Context(), &b), c.Acquire(t.Context(), &b)); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	if n := c.Value("a"); n != workers*each {
		t.Errorf("%v", n)
	}
	for _, bad := range []float64{-1, math.NaN(), math.Inf(-1)} {
		func() {
			defer func() {
				if s := fmt.Sprint(recover()); !strings.Contains(s, `"a"`) || !strings.Contains(s, "only grows") {
					t.Errorf("%v: %s", bad, s)
				}
			}()
			c.Add("a", bad)
		}()
	}
	c.Add("b", 0)
	c.Add("c", 0)
	for name, n := range c.All() { // the loop may use c, and end early
		if c.Add("b", 1); name == "b" {
			if n != 0 {
				t.Errorf("%v: not of one moment", n)
			}
			break
		}
	}
}
