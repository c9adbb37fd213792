package health

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/health/internal/port"
)

// check asks as HAProxy does: it reads a line and closes.
func (d *door) check(t testing.TB) string {
	t.Helper()
	nc, err := d.dial(balancer)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	line := make([]byte, 32)
	n, err := nc.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return string(line[:n])
}

func TestAgentSaysUpDrainAndDown(t *testing.T) {
	defer func(was time.Duration) { port.LingerTime = was }(port.LingerTime)
	port.LingerTime = time.Minute // or a client that a busy machine holds up is cut off while it sends
	s := newState(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { s.ServeAgent(ln) })
	defer served.Wait()
	defer ln.Close()
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"healthy", func() {}, "up ready\n"},
		{"pulled", func() { s.Pull() }, "drain\n"},
		{"down", s.Down, "down\n"},
		{"restored", func() { s.Restore() }, "up ready\n"},
		{"pulled again", func() { s.Pull() }, "drain\n"},
	} {
		step.do()
		// With something unread in its socket, close would take the answer back.
		for _, sent := range []string{"", "app1\n", strings.Repeat("x", 1<<20)} {
			nc, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(nc, sent); err != nil {
				t.Fatalf("%s: %d bytes of agent-send: %v", step.name, len(sent), err)
			}
			if got, err := io.ReadAll(nc); err != nil || string(got) != step.want {
				t.Errorf("%s: after %d bytes of agent-send: %q, %v, want %q", step.name, len(sent), got, err, step.want)
			}
			_ = nc.Close()
		}
	}
}

func TestAnAgentHasNoticedWithOneAnswerWhichItHasRead(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		d := agent(t, s)
		for range 5 {
			d.check(t)
			time.Sleep(2 * time.Second)
		}
		s.Pull()
		nc, err := d.dial(balancer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(nc, make([]byte, len("drain\n"))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if closed(s.Noticed()) {
			t.Error("noticed while the agent has not closed its connection")
		}
		_ = nc.Close()
		seen := time.Now()
		wantNoticedAfter(t, s, acting)
		wantProbers(t, s, Prober{Kind: "agent", Host: "10.0.0.1", Interval: 2 * time.Second,
			LastSeen: seen, Failures: 1, Needs: 1, Noticed: true, Live: true})
	})
}

func TestAnAgentThatStaysIsGivenOneSecond(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		d := agent(t, s)
		d.check(t)
		s.Pull()
		nc, err := d.dial(balancer)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		meanwhile(t, func() { _, _ = io.Copy(io.Discard, nc) })
		wantNoticedAfter(t, s, time.Second+acting)
	})
}

func TestAnAnswerThatAnAgentDoesNotReadDoesNotCount(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		d := agent(t, s)
		d.check(t)
		s.Pull()
		if err := d.knock(balancer); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p := s.Probers()[0]; p.Failures != 0 || closed(s.Noticed()) {
			t.Errorf("%+v: it counted", p)
		}
	})
}

// An HAProxy that also probes by HTTP has noticed when both are through.
func TestAnAgentAndAPingOfOneHostAreTwoProbers(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		d := agent(t, s)
		for range 5 {
			d.check(t)
			probeAs(s, balancer, "")
			time.Sleep(2 * time.Second)
		}
		wantPull(t, s, 4*time.Second+acting, func() {
			for range 3 {
				d.check(t)
				probeAs(s, balancer, "")
				time.Sleep(2 * time.Second)
			}
		})
	})
}

func TestSilentConnectionsDoNotKeepAnAgentFromItsAnswer(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		d := agent(t, s)
		for i := range 3 * port.MaxLingering {
			nc, err := d.dial(fmt.Sprintf("10.0.1.%d:1", i))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := io.ReadFull(nc, make([]byte, len("up ready\n"))); err != nil {
				t.Fatal(err)
			}
			if i < port.MaxLingering {
				continue
			}
			_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("connection %d: %v, want it closed at once", i, err)
			}
		}
		start := time.Now()
		if got := d.check(t); got != "up ready\n" || time.Since(start) > 0 {
			t.Errorf("%q after %v", got, time.Since(start))
		}
	})
}
