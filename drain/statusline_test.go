package drain

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/baton-go/baton/health"
	"github.com/baton-go/baton/listener"
)

func TestStatusLine(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.Local)
	probers := []health.Prober{{Live: true, Noticed: true}, {Live: true, Noticed: true}, {Live: true}, {Noticed: true}}
	for _, c := range []struct {
		st       Status
		stopping bool
		want     string
	}{
		{Status{Generation: 1, Phase: Ready}, false, "generation 1 ready, 0 open connections"},
		{Status{Generation: 2, Version: "v1.3.0", Phase: Ready}, false,
			"generation 2, version v1.3.0, ready, 0 open connections"},
		{Status{Generation: 2, Phase: Ready, Probers: probers, Open: listener.Counts{Idle: 1}}, false,
			"generation 2 ready, 1 open connection"},
		{Status{Generation: 3, Phase: Ready, Open: listener.Counts{Idle: 1, HTTP2: 2, Lost: 4}, Older: []Peer{
			{Generation: 1, PID: 10, Open: listener.Counts{Hijacked: 2}, Deadline: noon},
			{Generation: 2, PID: 20, Tasks: 1, Phase: Stopped}}}, false,
			"generation 3 ready, 3 open connections, 4 perhaps lost; still draining: " +
				"generation 1 (pid 10, 2 open, until 12:00:00), " +
				"2 (pid 20, 0 open, 1 background task, Run has returned)"},
		{Status{Generation: 1, Phase: Pulled, Pulled: true, Probers: probers}, false,
			"generation 1 pulled, 0 open connections, 2 of 3 probers noticed"},
		{Status{Generation: 1, Phase: Pulled, Pulled: true, Probers: probers[:2], Noticed: true}, true,
			"generation 1 pulled and stopping, 0 open connections, 2 of 2 probers noticed"},
		{Status{Generation: 1, Phase: Pulled, Pulled: true, Probers: probers, Noticed: true}, false,
			"generation 1 pulled, 0 open connections, 2 of 3 probers noticed within PullMax"},
		{Status{Generation: 1, Phase: Pulled, Pulled: true, Noticed: true}, false,
			"generation 1 pulled, 0 open connections, no prober to wait for"},
		{Status{Generation: 1, Phase: Draining, Pulled: true, Probers: probers,
			Background: []string{"mail", "upload"}}, true,
			"generation 1 draining, 0 open connections, background work: mail, upload"},
	} {
		if got := c.st.line(c.stopping); got != c.want {
			t.Errorf("%+v: %q; want %q", c.st, got, c.want)
		}
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\nREADY=1\r\n\n\tb\x00": "a READY=1 b",
		"\xff is \xc3":            "? is ?",
		"ä":                       "ä",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%q becomes %q; want %q", in, got, want)
		}
	}
	if got := oneLine("a" + strings.Repeat("ä", 4096)); len(got) > 1100 || !utf8.ValidString(got) {
		t.Errorf("%d bytes, valid %v", len(got), utf8.ValidString(got))
	}
}
