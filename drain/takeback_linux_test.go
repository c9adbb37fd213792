package drain

import (
	"errors"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/sdnotify"
)

// Hello is in the link before the child is started: the child would not serve without, if this process died then.
func TestHelloIsSaidBeforeTheStart(t *testing.T) {
	t.Parallel()
	near, far := linkPair(t)
	sw := newSwap(3, 1, nil)
	s, _ := alone(t, machine.Ready, func(r *runner) { r.swap = sw })
	defer s.endTest()
	h := helloAsked{sw, near, nil, make(chan helloAnswer, 1)}
	s.run.post(h)
	if answer := <-h.reply; answer.err != nil {
		t.Error(answer.err)
	} else if err := answer.hello.Send(); err != nil {
		t.Error(err)
	}
	_ = near.Close()
	if m := next(t, far); m.Kind != kindHello {
		t.Errorf("%+v", m)
	}
}

// What the child has said, and nobody has heard yet, decides before the time is over.
func TestNoTickCountsBeforeWhatTheChildHasSaid(t *testing.T) {
	t.Parallel()
	near, far := linkPair(t)
	if err := far.Send(message{Kind: kindServing}); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		in, sw := newInbox(), newSwap(2, 1, nil)
		defer close(sw.over)
		sw.link = near
		go sw.follow(in, nobody{})
		begun := time.Now()
		if e := <-in.events; time.Since(begun) != mostUnheard*lifecycle.Tick {
			t.Errorf("%+v after %v", e, time.Since(begun))
		}
	})
}

// nobody is a child that does nothing.
type nobody struct{ child }

func (nobody) Ready() <-chan struct{}  { return nil }
func (nobody) Exited() <-chan struct{} { return nil }
func (nobody) Err() error              { return errors.New("dead") }
func (nobody) Said() string            { return "nothing" }
func (nobody) Kill()                   {}

// Where the new generation dies while the old one prepares to let go, the old one may have taken everything
// back before it comes to pause the reads of its packet sockets. It reads datagrams all the same.
func TestDatagramsAreReadAfterASwapIsTakenBack(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]lifecycle.OldPhase{
		"taken back": lifecycle.Back, "begun again": lifecycle.Starting,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sw := newSwap(3, 1, nil)
			sw.giveUp = func() {}
			s, _ := alone(t, machine.Swapping, func(r *runner) {
				r.swap = sw
				r.state.Swap, r.state.Child.Phase, r.state.Child.Attempt = true, back, 1
				if back == lifecycle.Starting { // the next attempt
					r.state.Child.Attempt = 2
				}
			})
			defer s.endTest()
			pc, err := s.set.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s.set.PauseReads(t.Context())
			s.run.post(announced{sw})
			nc, err := net.Dial("udp", pc.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := nc.Write([]byte("here")); err != nil {
				t.Fatal(err)
			}
			_ = pc.SetReadDeadline(time.Now().Add(time.Minute))
			if n, _, err := pc.ReadFrom(make([]byte, 8)); n != 4 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}

// Likewise, it may have taken everything back before it comes to name the new generation to the service manager. It is
// the one that the manager is told of in the end.
func TestTheManagerIsToldOfTheOldOneAfterASwapIsTakenBack(t *testing.T) {
	t.Parallel()
	near, _ := linkPair(t)
	sw := newSwap(3, 1, nil)
	sw.link, sw.child, sw.settled = near, nobody{}, make(chan struct{})
	log := slog.New(slog.DiscardHandler)
	in := newInbox()
	m := &manager{Queue: sdnotify.NewQueue(log), in: in, main: true}
	defer m.close()
	s, _ := alone(t, machine.Ready)
	defer s.endTest()
	r := &runner{inbox: in, swap: sw, manager: m, set: s.set, estate: newEstate(s.run.inbox, &s.cfg, s.set, log),
		cfg: &s.cfg, os: s.run.os}
	r.takeBack(false)
	if _, err := m.name(1, 3); err != nil { // by announce, which is slow
		t.Fatal(err)
	}
	close(sw.settled)
	<-in.events
	if m.mu.Lock(); !m.main {
		t.Error("the manager follows a process that is dead")
	}
	m.mu.Unlock()
}
