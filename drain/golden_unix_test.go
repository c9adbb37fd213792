//go:build unix

package drain_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-go/baton/drain"
)

var update = flag.Bool("update", false, "write what TestWhatAnOperatorReads has read to testdata/log")

// masks hide what differs from run to run.
var masks = []struct{ what, by string }{
	{`(time[=:"]+)[^ ",]+`, `${1}TIME`},
	{`((?:since|until)[=:"]+)[^ ",]+`, `${1}TIME`},
	{`(pid[=:"]+|process |pid )\d+`, `${1}PID`},
	{`((?:took|drained)[=:"]+)[\dµa-z.]+`, `${1}TOOK`},
	{`127\.0\.0\.1:\d+`, `ADDRESS`},
	{`(promoted"?[ ,]"?listeners"?[=:]"[^"]*")([ ,]"?(open|new|idle|active)"?[=:]\d+)+`, `${1}`}, // the self-check's
	{`(binary[=:"]+)[^ ",]+`, `${1}BINARY`},
}

// TestWhatAnOperatorReads: the log of a swap, a failed swap, a pull and a stop, from real processes, is
// that in testdata.
func TestWhatAnOperatorReads(t *testing.T) {
	eachOf(t, func(t *testing.T, format string) {
		s := start(t, plan{Log: format, Version: "v1.2.3"}, withControl)
		_ = have(s.connect().ask("GET", "/whoami", ""))(t)
		s.eventualControl("a connection at rest", func(st drain.Status) bool { return st.Open.Idle == 1 })
		s.awaitLine("ready")
		read := len(have(os.ReadFile(s.logFile()))(t))
		for _, act := range []struct {
			name, last string
			do         func()
		}{
			{"swap", "swapped", func() { s.plan.Version = "v1.3.0"; s.replan(); s.swap() }},
			{"failed-swap", "swap failed", func() { s.failSwap("check fails") }},
			{"pull", "restored", func() { s.pull(); s.event(2, "nobody asks"); s.restore() }},
			{"stop", "stopped", s.stop},
		} {
			act.do()
			s.awaitLine(act.last)
			log := string(have(os.ReadFile(s.logFile()))(t))
			got := log[read:]
			read = len(log)
			for _, m := range masks {
				got = regexp.MustCompile(m.what).ReplaceAllString(got, m.by)
			}
			golden := filepath.Join("testdata", "log", act.name+"."+format)
			if *update {
				must(t, os.WriteFile(golden, []byte(got), 0o600))
			}
			want, _ := os.ReadFile(golden)
			if strings.TrimSpace(got) != strings.TrimSpace(string(want)) {
				t.Errorf("%s: the log is\n%s\nwant\n%s", golden, got, want)
			}
		}
	}, "text", "json")
}
