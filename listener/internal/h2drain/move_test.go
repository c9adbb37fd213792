package h2drain

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/h2state"
)

// resting is below a Conn that may move at any time.
type resting struct {
	nether
	serves, part, taken bool
	offers              int
}

func (*resting) AtRest() bool        { return true }
func (r *resting) Whole() bool       { return !r.part }
func (r *resting) Serves() bool      { return r.serves }
func (r *resting) Offer([]byte) bool { r.offers++; return r.taken }

// settled returns a Conn that can move.
func settled(t *testing.T) (*Conn, *hose) {
	t.Helper()
	h := &hose{}
	f := New(h, new(resting), true, 0, nil, nil)
	said := slices.Concat(written(h2frame.TypeSettings, 0, 0, nil),
		written(h2frame.TypeSettings, h2frame.FlagAck, 0, nil))
	_, _ = f.Write(said)
	feed(t, f, said)
	return f, h
}

// asks returns a Conn whose server has been given a PING, and how it is to answer.
func asks(t *testing.T) (f *Conn, h *hose, pong []byte) {
	t.Helper()
	f, h = settled(t)
	f.Move()
	ping := make([]byte, 64)
	n, err := f.Read(ping)
	if err != nil || n != h2frame.HeaderLen+8 || ping[3] != h2frame.TypePing {
		t.Fatalf("%q, %v, want a PING", ping[:n], err)
	}
	return f, h, written(h2frame.TypePing, h2frame.FlagAck, 0, ping[h2frame.HeaderLen:n])
}

// The client gets all but the server's answer to the PING that is not the client's: also what begins like that,
// however the server cuts what it writes.
func TestAnswersLikeOursPass(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for same := range 8 {
		for cut := range 40 {
			f, h, pong := asks(t)
			like := slices.Clone(pong)
			like[h2frame.HeaderLen+same] ^= 1
			rest := written(h2frame.TypeData, 0, 1, []byte("some"))
			said := slices.Concat(like, rest, like, like)
			before := len(h.wrote())
			write := func(b []byte) {
				for len(b) > 0 {
					k := min(cut, len(b))
					if cut == 0 {
						k = 1 + r.IntN(len(b))
					}
					n, err := f.Write(b[:k])
					if n != k || err != nil {
						t.Fatalf("%d, %v, want %d", n, err, k)
					}
					b = b[k:]
				}
			}
			name := fmt.Sprintf("%d bytes as ours, in pieces of %d", same, cut)
			write(said)
			if got := h.wrote()[before:]; !bytes.Equal(got, said) {
				t.Fatalf("%s: %q, want %q", name, got, said)
			}
			write(slices.Concat(pong, rest))
			if got := h.wrote()[before:]; !bytes.Equal(got, slices.Concat(said, rest)) {
				t.Fatalf("%s: then %q, want %q", name, got, rest)
			}
		}
	}
}

// Only a server that has nothing to do is asked, and only a connection that can move is offered.
func TestMoveIsTried(t *testing.T) {
	read := func(f *Conn) int {
		n, _ := f.Read(make([]byte, 64))
		return n
	}
	for name, x := range map[string]struct {
		before func(f *Conn, b *resting)
		after  func(f *Conn) // the server has been asked
		asked  bool
		offers int
		ends   bool // it is not tried again
	}{
		"it can move":                 {nil, nil, true, 1, true},
		"a handler runs":              {func(_ *Conn, b *resting) { b.serves = true }, nil, false, 0, false},
		"a part of a record has come": {func(_ *Conn, b *resting) { b.part = true }, nil, false, 0, false},
		"a handler runs on":           {nil, func(f *Conn) { f.below.(*resting).serves = true }, true, 0, false},
		"SETTINGS not acknowledged": {func(f *Conn, _ *resting) {
			_, _ = f.Write(written(h2frame.TypeSettings, 0, 0, nil))
		}, nil, true, 0, false},
		"a table that is not known": {func(f *Conn, _ *resting) {
			feed(t, f, written(h2frame.TypeHeaders, h2frame.FlagEndBlock, 1, []byte{0x7f, 0x10, 0}))
		}, nil, true, 0, true},
		"the server leaves": {func(f *Conn, _ *resting) { _, _ = f.Write(h2frame.GoAway(0)) }, nil, true, 0, true},
		"the last stream": {func(f *Conn, _ *resting) {
			feed(t, f, written(h2frame.TypeHeaders, h2frame.FlagEndBlock, h2frame.MaxStream, nil))
		}, nil, true, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := settled(t)
			b := f.below.(*resting)
			if x.before != nil {
				x.before(f, b)
			}
			f.Move()
			ping := make([]byte, 64)
			if n, _ := f.Read(ping); (n > 0) != x.asked {
				t.Fatalf("%d bytes for the server", n)
			} else if n > 0 {
				_, _ = f.Write(written(h2frame.TypePing, h2frame.FlagAck, 0, ping[h2frame.HeaderLen:n]))
			}
			if x.after != nil {
				x.after(f)
			}
			read(f)
			f.Move()
			if ends := f.move.Load() == nil; b.offers != x.offers || ends != x.ends {
				t.Errorf("%d offers, ends %v, want %d, %v", b.offers, ends, x.offers, x.ends)
			}
		})
	}
}

// The client of a connection that has moved is another server's: neither the one here nor a Leave says anything to it.
func TestNothingIsSaidBehindAMove(t *testing.T) {
	f, h, pong := asks(t)
	f.below.(*resting).taken = true
	before := len(h.wrote())
	_, _ = f.Write(pong)
	if n, err := f.Read(make([]byte, 64)); n > 0 || err != io.EOF {
		t.Errorf("%d bytes, %v, want the end", n, err)
	}
	f.Leave(time.Minute)
	if n, err := f.Write(h2frame.GoAway(0)); n > 0 || err == nil || len(h.wrote()) > before {
		t.Errorf("%d bytes, %v; the client has %q", n, err, h.wrote()[before:])
	}
	_ = f.Close()
}

// A frame that the client has in part is first to be written to its end: the other process would begin in the middle of
// it. Where a write has failed, the client lacks something that the server has said, and the connection stays.
func TestMoveIsNotTriedInWhatIsHalfWritten(t *testing.T) {
	frame := written(0xfa, 0, 0, []byte("unknown\x00")) // the state has nothing of it; it ends as a PING begins
	buf := make([]byte, 64)
	answer := func(t *testing.T, f *Conn) {
		t.Helper()
		n, _ := f.Read(buf)
		if n != h2frame.HeaderLen+8 || buf[3] != h2frame.TypePing {
			t.Fatalf("%q, want a PING", buf[:n])
		}
		_, _ = f.Write(written(h2frame.TypePing, h2frame.FlagAck, 0, buf[h2frame.HeaderLen:n]))
	}
	for cut := range len(frame) + 1 {
		t.Run(fmt.Sprintf("at %d", cut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, h := settled(t)
				before := len(h.wrote())
				_, _ = f.Write(frame[:cut])
				f.Move()
				if n, _ := f.Read(buf); n > 0 && 0 < cut && cut < len(frame) { // the server has not said all
					pong := written(h2frame.TypePing, h2frame.FlagAck, 0, buf[h2frame.HeaderLen:n])
					_, _ = f.Read(buf) // answerTime
					if offers := f.below.(*resting).offers; offers > 0 {
						t.Errorf("%d offers", offers)
					}
					_, _ = f.Write(slices.Concat(frame[cut:], pong))
					answer(t, f)
				} else {
					_, _ = f.Write(frame[cut:])
					_, _ = f.Write(written(h2frame.TypePing, h2frame.FlagAck, 0, buf[h2frame.HeaderLen:n]))
				}
				_, _ = f.Read(buf)
				if offers := f.below.(*resting).offers; offers != 1 || !bytes.Equal(h.wrote()[before:], frame) {
					t.Errorf("%d offers, and the client has %q", offers, h.wrote()[before:])
				}
			})
			synctest.Test(t, func(t *testing.T) {
				f, h := settled(t)
				h.full, h.room = true, cut
				if n, err := f.Write(append(slices.Clone(frame), 0)); n != cut || err == nil {
					t.Fatalf("%d, %v", n, err)
				}
				h.full = false
				_, _ = f.Write(frame)
				f.Move()
				answer(t, f)
				_, _ = f.Read(buf)
				if offers := f.below.(*resting).offers; offers > 0 {
					t.Errorf("%d offers behind a write that has failed", offers)
				}
			})
		})
	}
}

// What has been read of the socket, and not by the server, is first to be read: it can't go along.
func TestMoveIsTriedBehindWhatHasCome(t *testing.T) {
	f, h := settled(t)
	ping, settings := written(h2frame.TypePing, 0, 0, []byte("a client")), written(h2frame.TypeSettings, 0, 0, nil)
	h.put(slices.Concat(ping, settings))
	f.Move()
	var got []byte
	for len(got) < len(ping)+len(settings)+h2frame.HeaderLen+8 {
		buf := make([]byte, 9) // as net/http reads
		n, err := f.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
	all := split(t, got)
	if !bytes.Equal(all[0], ping) || !bytes.Equal(all[1], settings) || all[2][3] != h2frame.TypePing {
		t.Errorf("%q, want what has come, and a PING", all)
	}
}

// A server that answers when nobody waits any more is asked again.
func TestLateAnswersWakeTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, h, pong := asks(t)
		buf := make([]byte, 64)
		if n, err := f.Read(buf); err != io.EOF { // answerTime is over
			t.Fatalf("%q, %v", buf[:n], err)
		}
		_, _ = f.Write(pong)
		_ = f.SetReadDeadline(time.Now().Add(time.Hour)) // the server's own, before the reader has noticed
		if !h.late {
			t.Error("a reader would not wake")
		}
		if n, _ := f.Read(buf); n == 0 || buf[3] != h2frame.TypePing {
			t.Errorf("%q, want a PING", buf[:n])
		}
	})
}

// What the client is told at the end of an opening is not thrown away because of what it has sent.
func TestOpeningsThatFailLinger(t *testing.T) {
	h := &hose{}
	f := New(h, new(nether), true, 0, nil, nil)
	f.Resume(h2state.State{Last: 5, Client: h2state.Settings{}, Send: h2state.DefaultWindow}, time.Minute)
	_ = f.Close()
	f.Wait()
	_ = f.Close()
	if !bytes.Equal(h.wrote(), h2frame.GoAway(5)) || !slices.Equal(h.ends, []string{"CloseWrite", "Close"}) {
		t.Errorf("%q, %v, want a GOAWAY, and a close that lingers", h.wrote(), h.ends)
	}
}

// A server that has read nothing reads the preface before the opening.
func TestResumedConnsBeginWithThePreface(t *testing.T) {
	for _, ahead := range []int{0, 6, len(h2frame.Preface)} {
		f := New(&hose{}, new(nether), true, ahead, nil, nil)
		f.Resume(h2state.State{Client: h2state.Settings{}, Send: h2state.DefaultWindow}, time.Minute)
		want := h2frame.Preface[len(h2frame.Preface)-ahead:]
		got := make([]byte, ahead+h2frame.HeaderLen)
		for n := 0; n < len(got); {
			k, err := f.Read(got[n:])
			if n += k; err != nil {
				t.Fatal(err)
			}
		}
		if string(got[:ahead]) != want || got[ahead+3] != h2frame.TypeSettings {
			t.Errorf("%q, want %q and SETTINGS", got, want)
		}
	}
}

// The server is told to end behind what it is given for a move.
func TestToldBehindWhatIsHalfRead(t *testing.T) {
	for name, begin := range map[string]func(f *Conn) (kind byte){
		"a PING": func(f *Conn) byte { f.Move(); return h2frame.TypePing },
		"an opening": func(f *Conn) byte {
			f.Resume(h2state.State{Client: h2state.Settings{}, Send: h2state.DefaultWindow}, time.Minute)
			go func() {
				for f.Opens() {
					_, _ = f.Write(written(h2frame.TypeSettings, 0, 0, nil))
					for n := byte('1'); n <= '2'; n++ {
						payload := []byte{'r', 'e', 's', 'u', 'm', 'e', ' ', n}
						_, _ = f.Write(written(h2frame.TypePing, h2frame.FlagAck, 0, payload))
					}
				}
			}()
			return h2frame.TypeSettings
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := settled(t)
			kind := begin(f)
			f.ended.Store(name == "an opening")
			var got []byte
			for len(got) < 1000 {
				buf := make([]byte, 5)
				n, err := f.Read(buf)
				got = append(got, buf[:n]...)
				f.ended.Store(true)
				if err != nil {
					break
				}
			}
			frames := split(t, got)
			if last := frames[len(frames)-1]; frames[0][3] != kind || !bytes.Equal(last, h2frame.GoAway(0)) {
				t.Errorf("%q, want a GOAWAY at the end", frames)
			}
		})
	}
}
