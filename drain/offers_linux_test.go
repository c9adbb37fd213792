package drain

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/listener"
)

// offering is a retired generation's side of a link, and a connection that it has.
func offering(t testing.TB, bound time.Duration) (old *Service, sw *swap, far *link.Link, client, held net.Conn) {
	t.Helper()
	near, far := linkPair(t)
	t.Cleanup(func() { _ = far.Close() })
	sw, retired := retire(near, bound)
	sw.meetReader(&spoken)
	old, ln := alone(t, machine.Draining, retired)
	t.Cleanup(old.endTest)
	go sw.hear(old.run.inbox)
	client, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if held, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return old, sw, far, client, held
}

// next is the next message.
func next(t testing.TB, l *link.Link) (m message) {
	t.Helper()
	files, err := l.Receive(&m)
	closeAll(files)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// An offer is answered once, whatever the next generation says, and when.
func TestAnOfferIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		bound time.Duration
		does  func(t *testing.T, far *link.Link, id int)
		word  kind
		taken bool
	}{
		"taken": {time.Hour, func(_ *testing.T, far *link.Link, id int) {
			_ = far.Send(message{Kind: kindTook, ID: id, Took: []bool{true}})
		}, kindYours, true},
		"refused": {time.Hour, func(_ *testing.T, far *link.Link, id int) {
			_ = far.Send(message{Kind: kindTook, ID: id, Took: []bool{false}})
		}, kindYours, false},
		"late": {time.Millisecond, func(*testing.T, *link.Link, int) {}, kindWithdrawn, false},
		"another version reads": {time.Hour, func(_ *testing.T, far *link.Link, _ int) {
			_ = far.Send(message{Kind: kindAble, Protocol: &protocol{Version: 1}})
		}, kindWithdrawn, false},
		"gone": {time.Hour, func(_ *testing.T, far *link.Link, _ int) { _ = far.Close() }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old, sw, far, _, held := offering(t, x.bound)
			over := make(chan error, 1)
			go func() { over <- old.HandOver(held, nil) }()
			m := next(t, far)
			if m.Kind != kindOffer || !m.Own {
				t.Fatalf("%+v", m)
			}
			x.does(t, far, m.ID)
			if err := <-over; (err == nil) != x.taken {
				t.Errorf("HandOver: %v", err)
			}
			if x.word == "" {
				return
			}
			if w := next(t, far); w.Kind != x.word || w.ID != m.ID {
				t.Errorf("%+v; want %s", w, x.word)
			}
			_ = far.Send(message{Kind: kindTook, ID: m.ID, Took: []bool{true}}) // too late, or once more
			sw.link.Finish()
			<-sw.gone
			for {
				var w message
				if _, err := far.Receive(&w); err != nil {
					break
				}
				if w.Kind == kindYours || w.Kind == kindWithdrawn {
					t.Errorf("and then %+v", w)
				}
			}
		})
	}
}

// An old generation that was halted may find an answer whose time is over, before it finds that out. The next one has
// given up by then, when it has handed the link on.
func TestAnAnswerBehindItsTimeDoesNotCount(t *testing.T) {
	t.Parallel()
	near, far := linkPair(t)
	sw, _ := retire(near, time.Millisecond)
	sw.meetReader(&spoken)
	id, answered := sw.offers.add()
	time.Sleep(2 * time.Millisecond)
	sw.answered(message{ID: id, Took: []bool{true}})
	select {
	case a := <-answered:
		t.Errorf("%+v", a)
	default:
	}
	sw.withdrawAll()
	if m := next(t, far); m.Kind != kindWithdrawn || m.ID != id {
		t.Errorf("%+v", m)
	}
}

// A link that takes nothing more may still bring something, so its end doesn't tell of an offer that is not sent.
func TestAnOfferThatCannotBeSentIsTakenBackAtOnce(t *testing.T) {
	t.Parallel()
	for name, batches := range map[string]bool{"the application's": false, "a batch": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old, sw, far, client, held := offering(t, time.Hour)
			far.Finish()
			over := make(chan error, 1)
			go func() {
				if !batches {
					over <- old.HandOver(held, nil)
					return
				}
				_, err := sw.handover([]listener.Ticket{{Listener: "tcp :1"}}, []syscall.Conn{held.(syscall.Conn)})
				over <- err
			}()
			select {
			case err := <-over:
				if !errors.Is(err, syscall.EPIPE) {
					t.Errorf("%v; want EPIPE", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the offer waits for an answer that can't come")
			}
			select {
			case <-sw.gone:
				t.Fatal("the link is gone, which tells it too")
			default:
			}
			if _, err := held.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if n, err := client.Read(make([]byte, 1)); n != 1 {
				t.Errorf("the connection is not this generation's: %v", err)
			}
		})
	}
}

// What was answered is kept when the old generation is gone without a word, and closed without one to the
// client when the old generation serves on.
func TestAClaimWaitsForTheWord(t *testing.T) {
	t.Parallel()
	var none message
	yours, withdrawn := message{Kind: kindYours, ID: 7}, message{Kind: kindWithdrawn, ID: 7}
	for name, x := range map[string]struct {
		before, after message
		pause, ends   bool
		kept          bool
	}{
		"yours":                       {none, yours, false, false, true},
		"withdrawn":                   {none, withdrawn, false, false, false},
		"withdrawn before the answer": {withdrawn, none, false, false, false},
		"the end":                     {none, none, false, true, true},
		"withdrawn and the end":       {none, withdrawn, false, true, false},
		"yours, handed on":            {none, yours, true, false, true},
		"withdrawn, handed on":        {none, withdrawn, true, false, false},
		"handed on and the end":       {none, none, true, true, true},
	} {
		for _, own := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", the application's"}[own], func(t *testing.T) {
				t.Parallel()
				s, ln := alone(t, machine.Ready)
				defer s.endTest()
				adopted := make(chan net.Conn, 1)
				s.run.adopter.take = func(nc net.Conn, _ []byte) error { adopted <- nc; return nil }
				near, old := linkPair(t)
				e := newElder(near, 1, 1)
				go s.run.adopter.hear(e)
				pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				mine, client := os.NewFile(uintptr(pair[0]), "mine"), os.NewFile(uintptr(pair[1]), "client")
				defer client.Close()
				ticket := listener.Ticket{Listener: "unix " + ln.Addr().String()}
				if err := old.Send(message{Kind: kindOffer, ID: 7, Own: own, Tickets: []listener.Ticket{ticket}},
					mine); err != nil {
					t.Fatal(err)
				}
				if x.before.Kind != "" {
					_ = old.Send(x.before)
				} else if m := next(t, old); m.Kind != kindTook || m.ID != 7 || !m.Took[0] {
					t.Fatalf("%+v", m)
				}
				if x.pause {
					near.Pause()
				}
				if x.after.Kind != "" {
					_ = old.Send(x.after)
				}
				if x.pause && !x.ends {
					<-e.heard
				}
				if x.ends {
					_ = old.Close()
					<-e.heard
				}
				if !x.ends && !x.pause {
					near.Pause()
					<-e.heard
				}
				n := s.set.Counts()
				if taken := n.Adopted == 1; taken != x.kept || n.Lost != 0 {
					t.Errorf("%+v; kept is to be %v", n, x.kept)
				}
				if x.kept {
					_ = mine.Close()
				}
				if _, err := client.WriteString("?"); err != nil {
					t.Error(err)
				}
				if x.kept {
					var nc net.Conn
					if own {
						nc = <-adopted
					} else if nc, err = ln.Accept(); err != nil {
						t.Fatal(err)
					}
					mine = fileOf(t, nc.(interface{ NetConn() net.Conn }).NetConn().(*net.UnixConn))
				}
				if _, err := io.ReadFull(mine, make([]byte, 1)); err != nil {
					t.Error(err)
				}
				_ = mine.Close()
				_ = old.Close()
			})
		}
	}
}

func fileOf(t testing.TB, nc *net.UnixConn) *os.File {
	t.Helper()
	f, err := nc.File()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// relay passes messages on, each after some time, until an end is closed.
func relay(from, to *link.Link, most time.Duration, change func([]byte) []byte) {
	for {
		var m json.RawMessage
		files, err := from.Receive(&m)
		if err != nil {
			_ = to.Close()
			return
		}
		time.Sleep(rand.N(most))
		var fds []syscall.Conn
		for _, f := range files {
			fds = append(fds, f)
		}
		_ = to.Send(json.RawMessage(change(m)), fds...)
		closeAll(files)
	}
}

// Answers come about when the bound is over: exactly one generation has the connection in the end.
func TestOneOfTwoHasWhatIsOffered(t *testing.T) {
	t.Parallel()
	const bound, rounds = 4 * time.Millisecond, 60
	var mu sync.Mutex
	count := map[bool]int{}
	t.Run("rounds", func(t *testing.T) {
		for range rounds {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				old, _, far, client, held := offering(t, bound)
				s, ln := alone(t, machine.Ready)
				defer s.endTest()
				s.run.adopter.take = func(net.Conn, []byte) error { return nil }
				near, there := linkPair(t)
				// Both generations live in this process, and can't listen at the same place.
				from, to := []byte(held.LocalAddr().String()), []byte(ln.Addr().String())
				go relay(far, near, bound, func(m []byte) []byte { return bytes.ReplaceAll(m, from, to) })
				go relay(near, far, bound, func(m []byte) []byte { return m })
				e := newElder(there, 1, 1)
				go s.run.adopter.hear(e)
				errOffer := old.HandOver(held, nil)
				for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
					e.claims.mu.Lock()
					open := len(e.claims.open)
					e.claims.mu.Unlock()
					n := s.set.Counts()
					if open == 0 && (n.Adopted == 1) == (errOffer == nil) && int64(n.Open()) == n.Adopted {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("HandOver: %v; there %+v", errOffer, s.set.Counts())
					}
				}
				if errOffer != nil && !errors.Is(errOffer, errOfferLate) {
					t.Error(errOffer)
				}
				if _, err := client.Write([]byte("?")); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				count[errOffer == nil]++
			})
		}
	})
	t.Logf("taken %d, withdrawn %d", count[true], count[false])
}
