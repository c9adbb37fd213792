package health

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const balancer = "10.0.0.1:4711"

// asked is the form of what probe sends.
const asked = `GET HTTP/1.1 "example.com" e94087ee`

// acting is the margin of all intervals of a second or more.
const acting = 100 * time.Millisecond

func newState(t testing.TB, cfg Config) *State {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// die is of one goroutine.
type die struct{ *rand.Rand }

// dice falls the same in each run. BATON_SEED, a number, makes it fall otherwise.
func dice(t testing.TB) die {
	t.Helper()
	seed := uint64(1)
	if text := os.Getenv("BATON_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("BATON_SEED: %v; want a number", err)
		}
	}
	t.Logf("BATON_SEED=%d", seed)
	return die{rand.New(rand.NewPCG(seed, 0))}
}

// another is for another goroutine.
func (d die) another() die { return die{rand.New(rand.NewPCG(d.Uint64(), d.Uint64()))} }

// within is less than most, and not negative.
func (d die) within(most time.Duration) time.Duration { return time.Duration(d.Int64N(int64(most))) }

// about is mean or off by less than jitter.
func (d die) about(mean, jitter time.Duration) time.Duration {
	if jitter == 0 {
		return mean
	}
	return mean - jitter + d.within(2*jitter)
}

// probe sends s a probe and returns the status of the answer.
func probe(s *State, remote string) int { return probeAs(s, remote, "balancer/1") }

func probeAs(s *State, remote, agent string) int {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, request(http.MethodGet, remote, agent))
	return w.Code
}

func request(method, remote, agent string) *http.Request {
	r := httptest.NewRequest(method, "/ping", nil)
	r.RemoteAddr = remote
	r.Header.Set("User-Agent", agent)
	return r
}

// bubble runs test with a State, in a bubble of synctest.
func bubble(t *testing.T, cfg Config, test func(t *testing.T, s *State)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newState(t, cfg)) })
}

// probeEvery sends n probes of the balancer, each followed by a pause of one interval.
func probeEvery(s *State, interval time.Duration, n int) {
	for range n {
		probe(s, balancer)
		time.Sleep(interval)
	}
}

// meanwhile runs f beside the test, which does not end before f does.
func meanwhile(t *testing.T, f func()) {
	var wg sync.WaitGroup
	wg.Go(f)
	t.Cleanup(wg.Wait)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// wantPull pulls, and wants the pull to be noticed after that time. Meanwhile, if it is not nil, during happens.
func wantPull(t *testing.T, s *State, want time.Duration, during func()) {
	t.Helper()
	synctest.Wait() // for what the test has sent to be known
	s.Pull()
	if during != nil {
		meanwhile(t, during)
	}
	wantNoticedAfter(t, s, want)
}

// wantNoticedAfter waits for the pull that has just begun to be noticed.
func wantNoticedAfter(t *testing.T, s *State, want time.Duration) {
	t.Helper()
	start := time.Now()
	<-s.Noticed()
	if got := time.Since(start); got != want {
		t.Errorf("noticed after %v, want %v", got, want)
	}
}

// wantProbers wants these in the ledger, in its order, and no other.
func wantProbers(t *testing.T, s *State, want ...Prober) {
	t.Helper()
	got := s.Probers()
	for i := range min(len(got), len(want)) {
		if got[i].LastSeen.Equal(want[i].LastSeen) {
			got[i].LastSeen = want[i].LastSeen // may differ in its monotonic part
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
}
