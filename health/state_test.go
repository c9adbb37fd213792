package health

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestNewRefusesAConfigAndNamesTheFieldAndTheCure(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{"success", Config{Status: 200}, []string{"Config.Status is 200", "use 400 to 599"}},
		{"network that no host is in", Config{Probers: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}},
			[]string{"Config.Probers", "write 10.0.0.0/8"}},
		{"no status at all", Config{Status: 600}, []string{"Config.Status is 600", "use 400 to 599"}},
		{"negative failures", Config{Failures: -1}, []string{"Config.Failures is -1", "use 1 or more"}},
		{"negative PullMin", Config{PullMin: -time.Second}, []string{"Config.PullMin is -1s", "use 0 or more"}},
		{"negative PullMax", Config{PullMax: -time.Second}, []string{"Config.PullMax is -1s", "use more than 0"}},
		{"PullMin beyond PullMax", Config{PullMin: 2 * time.Second, PullMax: time.Second},
			[]string{"PullMin is 2s", "raise PullMax"}},
		{"PullMin beyond the default", Config{PullMin: time.Minute},
			[]string{"PullMin is 1m0s", "PullMax, which is 30s"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := New(tc.cfg)
			if err == nil || s != nil {
				t.Fatalf("New = %v, %v; want only an error", s, err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestPullAndRestoreSayWhetherTheyChangedAnything(t *testing.T) {
	s := newState(t, Config{})
	for i, step := range []struct {
		do              func() bool
		changed, pulled bool
	}{
		{s.Restore, false, false},
		{s.Pull, true, true},
		{s.Pull, false, true},
		{s.Restore, true, false},
		{s.Restore, false, false},
		{s.Pull, true, true},
	} {
		if got := step.do(); got != step.changed {
			t.Errorf("step %d: changed = %v", i, got)
		}
		if got := s.Pulled(); got != step.pulled {
			t.Errorf("step %d: pulled = %v", i, got)
		}
	}
}

func TestNoticedIsNilWhileNotPulled(t *testing.T) {
	s := newState(t, Config{})
	if s.Noticed() != nil {
		t.Error("before the pull: not nil")
	}
	s.Pull()
	s.Restore()
	if s.Noticed() != nil {
		t.Error("after the restore: not nil")
	}
}

func TestEverythingAtOnce(t *testing.T) {
	s := newState(t, Config{PullMin: time.Microsecond, PullMax: time.Millisecond})
	var wg sync.WaitGroup
	for _, f := range []func(){
		func() { probe(s, "10.0.0.1:1") },
		func() { probe(s, "10.0.0.2:1") },
		func() { s.Pull() },
		func() { s.Restore() },
		func() { closed(s.Noticed()) },
		s.Arrived,
		func() { s.Probers() },
		func() {
			if err := s.Import(s.Export()); err != nil {
				t.Error(err)
			}
		},
	} {
		wg.Go(func() {
			for range 200 {
				f()
			}
		})
	}
	wg.Wait()
	s.Restore()
	s.Pull()
	<-s.Noticed()
}
