package health

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/health/internal/ledger"
)

func TestAProberIsARemoteHostAndAUserAgent(t *testing.T) {
	for _, tc := range []struct{ remote, agent, host, wantAgent string }{
		{"10.0.0.1:4711", "a", "10.0.0.1", "a"},
		{"10.0.0.1:4711", "", "10.0.0.1", ""},
		{"[2001:db8::1]:4711", "a", "2001:db8::1", "a"},
		{"[fe80::1%eth0]:4711", "a", "fe80::1%eth0", "a"},
		{"", "a", "unix", "a"},
		{"@", "a", "unix", "a"},
		{"@abstract", "a", "unix", "a"},
		{"/run/client.sock", "a", "unix", "a"},
		{"10.0.0.1", "a", "10.0.0.1", "a"},       // some middleware leaves out the port
		{"2001:db8::1", "a", "2001:db8::1", "a"}, // likewise
		{"[", "a", "", "a"},
		{"10.0.0.1:1", strings.Repeat("a", 1000), "10.0.0.1", strings.Repeat("a", 256)},
		{"10.0.0.1:1", strings.Repeat("a", 255) + "é", "10.0.0.1", strings.Repeat("a", 255) + "?"},
		{"10.0.0.1:1", "\xff", "10.0.0.1", "?"},
	} {
		s := newState(t, Config{})
		probeAs(s, tc.remote, tc.agent)
		got := s.Probers()
		if len(got) != 1 || got[0].Host != tc.host || got[0].UserAgent != tc.wantAgent {
			t.Errorf("%q, %q: %+v", tc.remote, tc.agent, got)
		}
	}
}

func TestWhatIsNoProbeIsNotInTheLedger(t *testing.T) {
	s := newState(t, Config{})
	if got := probe(s, "pipe"); got != 200 {
		t.Errorf("our own check: status %d", got)
	}
	s.ServeHTTP(discard{map[string][]string{}}, request("POST", balancer, "a"))
	s.Live().ServeHTTP(discard{map[string][]string{}}, request("GET", balancer, "a"))
	if got := s.Probers(); len(got) != 0 {
		t.Errorf("ledger: %+v", got)
	}
	s.Pull()
	if got := probe(s, "pipe"); got != 501 {
		t.Errorf("our own check, pulled: status %d", got)
	}
}

func TestProbersTellsWhoHasNoticed(t *testing.T) {
	bubble(t, Config{Failures: 2}, func(t *testing.T, s *State) {
		probeAs(s, "10.0.0.9:1", "curl")
		time.Sleep(time.Minute)
		for range 3 {
			probe(s, "10.0.0.2:1")
			probe(s, "10.0.0.1:1")
			time.Sleep(time.Second)
		}
		s.Pull()
		probe(s, "10.0.0.1:1")
		probe(s, "10.0.0.1:1")
		probe(s, "10.0.0.2:1")
		now := time.Now()
		wantProbers(t, s,
			Prober{Kind: "ping", Host: "10.0.0.1", UserAgent: "balancer/1", Form: asked, Interval: time.Second,
				LastSeen: now, Failures: 2, Needs: 2, Noticed: true, Live: true},
			Prober{Kind: "ping", Host: "10.0.0.2", UserAgent: "balancer/1", Form: asked, Interval: time.Second,
				LastSeen: now, Failures: 1, Needs: 2, Live: true},
			Prober{Kind: "ping", Host: "10.0.0.9", UserAgent: "curl", Form: asked,
				LastSeen: now.Add(-63 * time.Second), Needs: 2})
	})
}

func TestProberAsJSON(t *testing.T) {
	b, err := json.Marshal(Prober{
		Kind: "ping", Host: "10.0.0.1", UserAgent: "a", Interval: 2 * time.Second,
		LastSeen: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Failures: 3, Needs: 3, Noticed: true, Live: true,
	})
	const want = `{"kind":"ping","host":"10.0.0.1","user_agent":"a","interval_ns":2000000000,` +
		`"last_seen":"2030-01-02T03:04:05Z","failures":3,"needs":3,"noticed":true,"live":true}`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v, want\n%s", b, err, want)
	}
}

func TestAScanCannotGrowTheLedgerAndTheLongestUnseenGoFirst(t *testing.T) {
	s := newState(t, Config{})
	probe(s, "gone:1")
	for i := range 3 * ledger.MaxProbers {
		probe(s, fmt.Sprintf("10.0.%d.%d:1", i/256, i%256))
		if i%1000 == 0 {
			probe(s, "stays:1")
		}
	}
	hosts := make(map[string]bool)
	for _, p := range s.Probers() {
		hosts[p.Host] = true
	}
	if n := len(s.Probers()); len(hosts) != ledger.MaxProbers || n != len(hosts) {
		t.Errorf("%d hosts, %d probers", len(hosts), n)
	}
	if !hosts["stays"] || hosts["gone"] {
		t.Errorf("stays: %v, gone: %v", hosts["stays"], hosts["gone"])
	}
}
