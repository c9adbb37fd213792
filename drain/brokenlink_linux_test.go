package drain

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/listener"
	"golang.org/x/sys/unix"
)

// elderOf is an older generation of s, played by a rogue: what it offers first is a connection of its own, whose client
// is the rogue's first end.
func elderOf(t *testing.T, set ...func(*runner)) (s *Service, e *elder, p *rogue, offer func()) {
	t.Helper()
	near, p := newRogue(t)
	t.Cleanup(p.close)
	e = newElder(near, 1, 1)
	s, ln := alone(t, machine.Ready, append(set, startedBy(e))...)
	t.Cleanup(s.endTest)
	go s.run.adopter.hear(e)
	return s, e, p, func() {
		text, err := json.Marshal(message{Kind: kindOffer, ID: 1, Own: true,
			Tickets: []listener.Ticket{{Listener: "unix " + ln.Addr().String()}}})
		if err != nil {
			t.Fatal(err)
		}
		p.say(text, true, 0, 1)
	}
}

// answer is the next one that comes for the rogue.
func (p *rogue) answer(t *testing.T) (m message) {
	t.Helper()
	f, err := p.File()
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return next(t, l)
}

// isRead returns when all that the rogue has said has been read.
func (p *rogue) isRead(t *testing.T) {
	t.Helper()
	f, err := p.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for unread := 1; unread > 0; time.Sleep(time.Millisecond) {
		if unread, err = unix.IoctlGetInt(int(f.Fd()), unix.SIOCOUTQ); err != nil {
			t.Fatal(err)
		}
	}
}

// A generation that lives and says what can't be understood, as one of a later version may, has what it has offered.
func TestAnOfferOfALivingElderIsItsOwnWithoutAWord(t *testing.T) {
	t.Parallel()
	s, e, p, offer := elderOf(t)
	offer()
	if m := p.answer(t); m.Kind != kindTook || len(m.Took) != 1 || !m.Took[0] {
		t.Fatalf("%+v", m)
	}
	p.say([]byte(strings.Repeat("\xff", 8)), false, 0, 0)
	<-e.heard
	if n := s.Status().Open; n.Adopted != 0 || n.Open() != 0 {
		t.Errorf("%+v; it is served twice", n)
	}
}

// One that is halted in the middle of a message holds up a further swap no longer than a moment.
func TestAnElderThatIsHaltedInAMessageIsNotHandedOn(t *testing.T) {
	t.Parallel()
	s, e, p, _ := elderOf(t)
	p.say([]byte{0, 0, 0, 9, 0, 0, 0, 0, '{'}, false, 0, 0)
	near, far := linkPair(t)
	p.isRead(t)
	over := make(chan struct{})
	go func() {
		defer close(over)
		(&swap{link: near}).handOn(s.run.inbox, []*elder{e}, &spoken)
	}()
	select {
	case <-over:
	case <-time.After(2 * link.Patience):
		t.Fatal("it goes on")
	}
	var m message
	files, err := far.Receive(&m)
	closeAll(files)
	if err != nil || m.Kind != kindElder || len(files) != 0 {
		t.Errorf("%+v with %d descriptors, %v; want that there is none to hear", m, len(files), err)
	}
	if _, err := io.Copy(io.Discard, p); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// The goroutine that calls Config.Adopt is the program's to end.
func TestConfigAdoptThatEndsItsGoroutineRefuses(t *testing.T) {
	t.Parallel()
	s, _, p, offer := elderOf(t, func(r *runner) {
		r.adopter.take = func(net.Conn, []byte) error { runtime.Goexit(); return nil }
	})
	offer()
	if m := p.answer(t); len(m.Took) != 1 || m.Took[0] || !strings.Contains(m.Reason, "runtime.Goexit") {
		t.Errorf("%+v", m)
	}
	if n := s.Status().Open; n.Open() != 0 {
		t.Errorf("%+v", n)
	}
}
