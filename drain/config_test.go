package drain_test

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// Each of these is found before anything is touched, so that one process can try them all.
func TestBadConfigurationNamesFieldAndCure(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  drain.Config
		want []string
	}{
		"Probation":    {drain.Config{Probation: -time.Second}, []string{"Config.Probation is -1s", "default (1s)"}},
		"SwapTimeout":  {drain.Config{SwapTimeout: -1}, []string{"Config.SwapTimeout is -1ns", "default (1m0s)"}},
		"PauseMax":     {drain.Config{PauseMax: -1}, []string{"Config.PauseMax is -1ns", "default (5s)"}},
		"DrainTimeout": {drain.Config{DrainTimeout: -1}, []string{"Config.DrainTimeout is -1ns", "default (30s)"}},
		"IdleGrace": {drain.Config{IdleGrace: -1}, []string{"Config.IdleGrace is -1ns",
			"default (5s, in a stop 1s)"}},
		"PullMin":        {drain.Config{PullMin: -1}, []string{"Config.PullMin is -1ns", "default (0s)"}},
		"PullMax":        {drain.Config{PullMax: -1}, []string{"Config.PullMax is -1ns", "default (30s)"}},
		"too few probes": {drain.Config{Failures: -1}, []string{"Config.Failures is -1", "use 1 or more"}},
		"prober of no network": {drain.Config{Probers: []netip.Prefix{{}}},
			[]string{"Config.Probers", "such as 10.0.0.0/8"}},
		"PingStatus": {drain.Config{PingStatus: 200}, []string{"Config.PingStatus is 200", "use 400 to 599"}},
		"several": {drain.Config{PullMax: -1, IdleGrace: -1},
			[]string{"Config.PullMax is", "Config.IdleGrace is"}},
		"MaxGenerations": {drain.Config{MaxGenerations: 1}, []string{"Config.MaxGenerations is 1", "at least 2"}},
		"no generations": {drain.Config{MaxGenerations: -4}, []string{"Config.MaxGenerations is -4", "at least 2"}},
		"no time for a swap": {drain.Config{Probation: time.Hour},
			[]string{"Config.SwapTimeout (1m0s)", "longer than Config.Probation (1h0m0s)"}},
		"a LivePath that is the PingPath": {drain.Config{PingPath: "/livez"},
			[]string{`Config.LivePath is "/livez", as is Config.PingPath`, `"-" for one`}},
		"PingPath": {drain.Config{PingPath: "ping"}, []string{`Config.PingPath is "ping"`, `begins with "/"`}},
		"LivePath": {drain.Config{LivePath: "http://x"},
			[]string{`Config.LivePath is "http://x"`, `begins with "/"`}},
		"a signal twice": {drain.Config{Signals: &drain.Signals{Swap: []os.Signal{syscall.SIGHUP},
			Stop: []os.Signal{os.Interrupt, syscall.SIGHUP}}},
			[]string{"Config.Signals has SIGHUP twice", "each signal can mean one thing"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := drain.New(c.cfg)
			wantWords(t, err, c.want...)
		})
	}
}

func wantWords(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	wantNoStutter(t, err.Error())
	for _, w := range append(words, "drain: ") {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

// place matches an address or an absolute path.
var place = regexp.MustCompile(`[\w.]*:\d+\b|\B/\w[\w./-]*`)

// wantNoStutter wants each line of an error's text to say things once: the package, an operation, an address, a path.
func wantNoStutter(t testing.TB, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		said := make(map[string]bool)
		say := func(what string) {
			if said[what] {
				t.Errorf("%q says %q twice", line, what)
			}
			said[what] = true
		}
		words := strings.Fields(strings.NewReplacer(`"`, "", `\`, "").Replace(line))
		for i, w := range words {
			if strings.HasSuffix(w, ":") && strings.Trim(w, ":") != "" {
				say(w)
			}
			if i >= 2 {
				say(strings.Join(words[i-2:i+1], " "))
			}
		}
		for _, p := range place.FindAllString(line, -1) {
			say(p)
		}
	}
}
