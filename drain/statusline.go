package drain

import (
	"fmt"
	"strings"
	"time"
)

// line is the status in words.
func (st Status) line(stopping bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "generation %d", st.Generation)
	if st.Version != "" {
		fmt.Fprintf(&b, ", version %s,", st.Version)
	}
	fmt.Fprintf(&b, " %s", st.Phase)
	if stopping && st.Phase != Draining && st.Phase != Stopped {
		b.WriteString(" and stopping")
	}
	fmt.Fprintf(&b, ", %s", count(st.Open.Open(), "open connection"))
	if len(st.Background) > 0 && st.Phase == Draining {
		fmt.Fprintf(&b, ", background work: %s", strings.Join(st.Background, ", "))
	}
	if st.Open.Lost > 0 {
		fmt.Fprintf(&b, ", %d perhaps lost", st.Open.Lost)
	}
	if st.Pulled && st.Phase != Draining && st.Phase != Stopped {
		b.WriteString(", " + st.noticed())
	}
	for i, o := range st.Older {
		fmt.Fprintf(&b, "%s %v", []string{"; still draining: generation", ","}[min(i, 1)], o)
	}
	return b.String()
}

// String is the generation in a few words, for logs.
func (p Peer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d (pid %d, %d open", p.Generation, p.PID, p.Open.Open())
	if p.Tasks > 0 {
		fmt.Fprintf(&b, ", %s", count(p.Tasks, "background task"))
	}
	if p.Phase == Stopped {
		b.WriteString(", Run has returned")
	}
	if !p.Deadline.IsZero() {
		fmt.Fprintf(&b, ", until %s", p.Deadline.Local().Format(time.TimeOnly))
	}
	b.WriteString(")")
	return b.String()
}

// noticed says which probers have noticed the pull.
func (st Status) noticed() string {
	live, noticed := 0, 0
	for _, p := range st.Probers {
		if p.Live {
			live++
			if p.Noticed {
				noticed++
			}
		}
	}
	switch {
	case live == 0:
		return "no prober to wait for"
	case st.Noticed && noticed < live:
		return fmt.Sprintf("%d of %d probers noticed within PullMax", noticed, live)
	}
	return fmt.Sprintf("%d of %d probers noticed", noticed, live)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// oneLine is what a datagram's line can hold: systemd drops a message of more than 4096 bytes, and
// a STATUS that is no UTF-8.
func oneLine(text string) string {
	const most = 1024
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}
