package drain

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/drain/internal/work"
)

func TestLeadRefusesWhatCannotBeSaid(t *testing.T) {
	t.Parallel()
	var ls leads
	for _, c := range []struct{ name, want string }{
		{"", "0 bytes"},
		{strings.Repeat("x", 101), "101 bytes"},
		{"\xff", "UTF-8"},
		{"one", ""},
		{strings.Repeat("\n", 100), ""},
		{"one", "of that name"},
	} {
		if err := ls.add(lead{name: c.name}); c.want == "" && err != nil || c.want != "" &&
			(err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %v, want %q", c.name, err, c.want)
		}
	}
	for i := range maxLeads - 2 {
		if err := ls.add(lead{name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := ls.add(lead{name: "too many"}); err == nil || !strings.Contains(err.Error(), "64") {
		t.Error(err)
	}
}

// The fullest that can be said of leads is little of what a message may have.
func TestLeadsFitIntoAMessage(t *testing.T) {
	t.Parallel()
	g := generations{procs: osProcesses{}}
	var names []string
	for i := range maxLeads {
		names = append(names, strings.Repeat("\x01", maxLeadName-2)+fmt.Sprintf("%02d", i))
	}
	for pid := 1; pid <= 64; pid++ {
		g.older = append(g.older, &elder{Peer: Peer{PID: pid, Leads: names, Deadline: time.Now()}})
	}
	text, err := json.Marshal(message{Holders: g.allHolders(), Report: &g.older[0].Peer})
	if err != nil || len(text) > 128<<10 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if all := g.allHolders(); len(all) != 64 || len(all[0].Leads) != maxLeads || all[63].Leads != nil ||
		len(g.older[63].Leads) != maxLeads {
		t.Errorf("%d holders; the last has %d leads, want any", len(all), len(all[63].Leads))
	}
}

// What holds up a lead, by what is known of the older generations.
func TestLeadIsHeldUp(t *testing.T) {
	t.Parallel()
	here, gone := os.Getpid(), 1<<30
	past, future := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
	for _, c := range []struct {
		what    string
		older   []*elder
		holders []holder
		held    []string // of "one" and "two"
	}{
		{"alone", nil, nil, nil},
		{"an elder leads one", []*elder{{Peer: Peer{PID: 7, Leads: []string{"one"}}}}, nil, []string{"one"}},
		{"an elder leads nothing", []*elder{{Peer: Peer{PID: 7, Leads: []string{}}}}, nil, nil},
		{"an elder has not said", []*elder{{Peer: Peer{PID: 7}}}, nil, []string{"one", "two"}},
		{"two elders", []*elder{{Peer: Peer{PID: 7, Leads: []string{"one"}}},
			{Peer: Peer{PID: 8, Leads: []string{"two"}}}}, nil, []string{"one", "two"}},
		{"a process without a link", nil, []holder{{PID: here, Leads: []string{"two"}}}, []string{"two"}},
		{"a process without a word", nil, []holder{{PID: here}}, []string{"one", "two"}},
		{"a process that is gone", nil, []holder{{PID: gone}}, nil},
		{"a process whose number is another's", nil, []holder{{PID: here, Until: past}}, nil},
		{"a process that has time", nil, []holder{{PID: here, Until: future}, {PID: gone}}, []string{"one", "two"}},
	} {
		g := generations{procs: osProcesses{}, older: c.older, holders: c.holders}
		g.dropHolders()
		var held []string
		for _, name := range []string{"one", "two"} {
			if g.heldBy(name) != 0 {
				held = append(held, name)
			}
		}
		if !slices.Equal(held, c.held) {
			t.Errorf("%s: %q are held up, want %q", c.what, held, c.held)
		}
	}
}

// What was accepted runs; what is refused does not; nothing is lost between the two.
func TestGoRunsWhatItAccepts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := work.NewGroup(ErrDraining)
		s := &Service{work: b}
		ran := make(chan int, 100)
		add := func(n int) func(context.Context) { return func(context.Context) { ran <- n } }
		if err := s.Go("before", add(1)); err != nil || len(ran) > 0 {
			t.Error(err)
		}
		b.Begin()
		_ = s.Go("feeds", func(ctx context.Context) {
			<-ctx.Done()
			if err := s.Go("second", func(ctx context.Context) {
				ran <- 3
				time.Sleep(time.Second)
				ran <- 4
			}); err != nil {
				t.Error(err)
			}
		})
		b.Drain()
		if err := s.Go("while draining", add(2)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		idle := b.Finish()
		synctest.Wait()
		if isClosed(idle) || len(ran) != 3 {
			t.Errorf("finished while something runs; %d have run", len(ran))
		}
		if err := s.Go("while the last runs", add(5)); err != nil {
			t.Error(err)
		}
		<-idle
		if err := s.Go("late", add(6)); err == nil || !strings.Contains(err.Error(), `"late"`) {
			t.Error(err)
		}
		synctest.Wait()
		if len(ran) != 5 {
			t.Errorf("%d have run, want 5", len(ran))
		}
	})
}

// A service that is over before it was ready runs nothing.
func TestGoOfAServiceThatIsNeverReady(t *testing.T) {
	t.Parallel()
	b := work.NewGroup(ErrDraining)
	s := &Service{work: b}
	if err := s.Go("early", func(context.Context) { t.Error("it ran") }); err != nil {
		t.Error(err)
	}
	b.End()
	<-b.Finish()
	b.Begin()
	if err := s.Go("late", func(context.Context) {}); err == nil {
		t.Error("no error")
	}
}
