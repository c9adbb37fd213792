package health

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/health/internal/ledger"
	"github.com/baton-go/baton/health/internal/rhythm"
)

func TestTheNextGenerationKnowsTheProbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newState(t, Config{})
		probeEvery(old, 2*time.Second, 10)
		probeAs(old, balancer, "<&>\"\xff")
		old.Pull()
		probe(old, balancer)
		b := old.Export()
		time.Sleep(time.Second) // the clocks of the two have different beginnings

		s := newState(t, Config{})
		if err := s.Import(b); err != nil {
			t.Fatal(err)
		}
		wantProbers(t, s,
			Prober{Kind: "ping", Host: "10.0.0.1", UserAgent: `<&>"?`, Form: asked,
				LastSeen: time.Now(), Needs: 3, Live: true},
			Prober{Kind: "ping", Host: "10.0.0.1", UserAgent: "balancer/1", Form: asked, Interval: 2 * time.Second,
				LastSeen: time.Now(), Needs: 3, Live: true})
		time.Sleep(2 * time.Second)
		wantPull(t, s, 4*time.Second+acting, func() { probeEvery(s, 2*time.Second, 3) })
	})
}

func TestImportKeepsWhatTheStateHasSeenItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newState(t, Config{})
		probeEvery(old, 2*time.Second, 10)
		s := newState(t, Config{})
		probeEvery(s, 5*time.Second, 5)
		if err := s.Import(old.Export()); err != nil {
			t.Fatal(err)
		}
		if got := s.Probers(); len(got) != 1 || got[0].Interval != 5*time.Second {
			t.Errorf("%+v", got)
		}
	})
}

func TestExportLeavesOutWhoHasNotBeenSeenForLong(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		probe(s, "10.0.0.1:1")
		time.Sleep(rhythm.LongestGap)
		probe(s, "10.0.0.2:1")
		time.Sleep(time.Second)
		if b := s.Export(); bytes.Contains(b, []byte("10.0.0.1")) || !bytes.Contains(b, []byte("10.0.0.2")) {
			t.Errorf("%s", b)
		}
	})
}

func TestImportOfGarbageIsAnErrorAndChangesNothing(t *testing.T) {
	line := func(s string) string {
		return `{"version":1,"probers":[{"host":"10.0.0.1","user_agent":"a","age_ns":1,"gaps_ns":[1]},` + s + `]}`
	}
	for _, tc := range []struct{ in, want string }{
		{``, "unexpected end"},
		{`{"version":1,"probers":[`, "unexpected end"},
		{`{"version":1} x`, "invalid character"},
		{`[]`, "cannot unmarshal"},
		{`{}`, "version 0, want 1"},
		{`{"version":2,"probers":[]}`, "version 2, want 1"},
		{line(`{"age_ns":-1}`), "prober 1: age -1ns out of range"},
		{line(`{"age_ns":9000000000000000000}`), "age 2500000h0m0s out of range"},
		{line(`{"age_ns":1e30}`), "cannot unmarshal"},
		{line(`{"gaps_ns":[1,-1]}`), "gap -1ns out of range"},
		{line(`{"gaps_ns":[9000000000000000000]}`), "out of range"},
		{line(`{"gaps_ns":[1,2,3,4,5,6,7,8,9]}`), "9 gaps, more than 8"},
		{line(`{"host":"` + strings.Repeat("a", 257) + `"}`), "longer than 256 bytes"},
		{line(`{"user_agent":"` + strings.Repeat("a", 257) + `"}`), "longer than 256 bytes"},
		{line(`{"via":"` + strings.Repeat("a", 257) + `"}`), "longer than 256 bytes"},
		{line(`{"form":{"method":"` + strings.Repeat("a", 257) + `"}}`), "longer than 256 bytes"},
		{line(`{"form":"GET"}`), "cannot unmarshal"},
		{`{"version":1,"probers":[` + strings.Repeat(`{},`, ledger.MaxProbers) + `{}]}`,
			"1025 probers, more than 1024"},
		{strings.Repeat(" ", ledger.MaxParsed+1), "more than 4194304"},
	} {
		s := newState(t, Config{})
		err := s.Import([]byte(tc.in))
		if err == nil || !strings.HasPrefix(err.Error(), "health: import: ") ||
			!strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.60s: error %v, want %q", tc.in, err, tc.want)
		}
		if got := s.Probers(); len(got) != 0 {
			t.Errorf("%.60s: ledger %+v", tc.in, got)
		}
	}
}

func FuzzImport(f *testing.F) {
	s, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	for range 10 {
		probe(s, balancer)
	}
	f.Add(s.Export())
	f.Add([]byte(`{"version":1,"probers":[` +
		`{"host":"h","user_agent":"a","age_ns":360000000000,"gaps_ns":[360000000000,0,1]},{},{}]}`))
	f.Add([]byte(`{"version":1,"probers":null}`))
	f.Add([]byte(`{"version":1e400}`))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		bubble(t, Config{}, func(t *testing.T, s *State) {
			probe(s, balancer)
			before := s.Export()
			if err := s.Import(b); err != nil {
				if after := s.Export(); !bytes.Equal(before, after) {
					t.Fatalf("an error, and yet %s became %s", before, after)
				}
				return
			}
			if n := len(s.Probers()); n == 0 || n > ledger.MaxProbers {
				t.Fatalf("%d probers", n)
			}
			again := newState(t, Config{})
			if err := again.Import(s.Export()); err != nil {
				t.Fatalf("its own export: %v", err)
			}
			if !bytes.Equal(again.Export(), s.Export()) {
				t.Fatalf("%s came back as %s", s.Export(), again.Export())
			}
			s.Pull()
			start := time.Now()
			<-s.Noticed()
			if waited := time.Since(start); waited > 30*time.Second {
				t.Fatalf("noticed after %v, PullMax is 30s", waited)
			}
		})
	})
}
