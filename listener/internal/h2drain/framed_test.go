package h2drain

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

func written(kind, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// nether is the end of a pipe; it can't be closed.
type nether struct {
	net.Conn
	due  bool
	sock net.Conn // nil: nothing is unread, and nothing unsent
}

func (*nether) CloseWrite() error  { return nil }
func (*nether) IsClosed() bool     { return false }
func (*nether) Cut()               {}
func (*nether) AtRest() bool       { return false }
func (*nether) Serves() bool       { return false }
func (*nether) Whole() bool        { return true }
func (*nether) NotHTTP2()          {}
func (n *nether) Due() bool        { due := n.due; n.due = false; return due }
func (n *nether) Socket() net.Conn { return n.sock }
func (*nether) Offer([]byte) bool  { return false }

// talk is frames in any order, with header blocks that go on over some.
func talk(r *rand.Rand, n int) (all [][]byte) {
	all = append(all, written(4, 0, 0, nil))
	for len(all) < n {
		body := bytes.Repeat([]byte{byte(len(all))}, r.IntN(40))
		switch r.IntN(3) {
		case 0:
			all = append(all, written(h2frame.TypeHeaders, 0, 1, body), written(h2frame.TypeContinued, 0, 1, nil),
				written(h2frame.TypeContinued, h2frame.FlagEndBlock, 1, body))
		case 1:
			all = append(all, written(0, 0, 1, body))
		default:
			all = append(all, written(h2frame.TypePing, h2frame.FlagAck, 0, []byte("another.")))
		}
	}
	return all
}

// split cuts a stream into its frames.
func split(t *testing.T, b []byte) (all [][]byte) {
	t.Helper()
	for len(b) > 0 {
		n := h2frame.HeaderLen + int(b[0])<<16 + int(b[1])<<8 + int(b[2])
		if n > len(b) {
			t.Fatalf("%d bytes of a frame of %d", len(b), n)
		}
		all, b = append(all, b[:n]), b[n:]
	}
	return all
}

// pieces writes b, cut anyhow.
func pieces(w io.Writer, r *rand.Rand, b []byte) {
	for len(b) > 0 {
		n := 1 + r.IntN(min(len(b), 30))
		_, _ = w.Write(b[:n])
		b = b[n:]
	}
}

// wantPutIn wants extra among the frames, after the first, together, and in no header block.
func wantPutIn(t *testing.T, got, said, extra [][]byte) {
	t.Helper()
	at := slices.IndexFunc(got, func(f []byte) bool { return bytes.Equal(f, extra[0]) })
	if at < 1 || at+len(extra) > len(got) {
		t.Fatalf("put in at %d of %d", at, len(got))
	}
	for i, f := range extra {
		if !bytes.Equal(got[at+i], f) {
			t.Fatalf("frame %d is %q, want %q", at+i, got[at+i], f)
		}
	}
	before := got[at-1]
	ofBlock := before[3] == h2frame.TypeHeaders || before[3] == h2frame.TypeContinued
	if ofBlock && before[4]&h2frame.FlagEndBlock == 0 {
		t.Errorf("put into a header block, after %q", before)
	}
	rest := slices.Concat(got[:at], got[at+len(extra):])
	if !bytes.Equal(bytes.Join(rest, nil), bytes.Join(said, nil)) {
		t.Error("other frames have changed")
	}
}

// However a client sends, and a server reads, the server's GOAWAY comes between two frames.
func TestFramedReadsAGoAwayBetweenFrames(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		near, far := net.Pipe()
		f := &Conn{Conn: far, below: new(nether)}
		said := talk(r, 12)
		stop := r.IntN(100)
		go func() {
			pieces(near, rand.New(rand.NewPCG(seed, 1)), bytes.Join(said, nil))
			_, _ = near.Write(said[0]) // a last chance
			_ = near.Close()
		}()
		var got []byte
		for i := 0; ; i++ {
			if i == stop || len(got) > 0 && i > 8 {
				f.tellServer()
			}
			buf := make([]byte, 1+r.IntN(64))
			n, err := f.Read(buf)
			if got = append(got, buf[:n]...); err != nil {
				break
			}
		}
		wantPutIn(t, split(t, got), append(said, said[0]), [][]byte{h2frame.GoAway(0)})
	}
}

// However a server writes, the client's GOAWAY comes between two frames, whoever is about to write.
func TestFramedWritesAGoAwayBetweenFrames(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		near, far := net.Pipe()
		f := &Conn{Conn: far, below: new(nether)}
		said := talk(r, 12)
		var both sync.WaitGroup
		both.Go(func() { pieces(f, r, bytes.Join(said, nil)) })
		both.Go(func() { f.Leave(time.Minute) })
		go func() {
			both.Wait()
			_ = far.Close()
		}()
		got, err := io.ReadAll(near)
		if err != nil {
			t.Fatal(err)
		}
		wantPutIn(t, split(t, got), said, [][]byte{h2frame.GoAway(h2frame.MaxStream), h2frame.Ping(1)})
	}
}

// A server that reads as much as it can get may never end a read between two frames by itself.
func TestFramedEndsReadsBetweenFrames(t *testing.T) {
	near, far := net.Pipe()
	f := &Conn{Conn: far, below: new(nether)}
	said := talk(rand.New(rand.NewPCG(1, 1)), 12)
	all := bytes.Join(said, nil)
	go func() {
		_, _ = near.Write(all[:len(said[0])+4]) // and a part of the next
		_, _ = near.Write(all[len(said[0])+4:])
		_ = near.Close()
	}()
	var got []byte
	for {
		buf := make([]byte, 4096)
		n, err := f.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			break
		}
		f.tellServer()
	}
	frames := split(t, got)
	wantPutIn(t, frames, said, [][]byte{h2frame.GoAway(0)})
	if bytes.Equal(frames[len(frames)-1], h2frame.GoAway(0)) {
		t.Error("the GOAWAY came when all had been read")
	}
}

// A client may take nearly the grace for each PING, but neither longer nor bring a new stream each time.
func TestFramedWaitsForEachPing(t *testing.T) {
	const grace, late = 5 * time.Second, 4 * time.Second // the next PING is sent 2*late after an answer
	for name, x := range map[string]struct {
		pongs   int
		streams bool
		hurried time.Duration // until when, from half of that on
		want    time.Duration
	}{
		"all answered":      {100, false, 0, 4*late + 3*2*late},
		"the third is not":  {2, false, 0, 2*late + 2*2*late + grace},
		"none is":           {0, false, 0, grace},
		"a stream for each": {100, true, 0, 2*(late+2*late) + grace},
		"hurried":           {100, false, 30 * time.Second, 30 * time.Second},
		"hurried too late":  {100, false, 2 * time.Minute, 4*late + 3*2*late},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				f := &Conn{Conn: far, below: new(nether)}
				said := make(chan []byte, 100)
				go func() {
					defer close(said)
					for {
						frame := make([]byte, h2frame.HeaderLen)
						if _, err := io.ReadFull(near, frame); err != nil {
							return
						}
						body := make([]byte, frame[2])
						_, _ = io.ReadFull(near, body)
						if frame[3] == h2frame.TypePing {
							said <- body
						}
					}
				}()
				go func() {
					_, _ = near.Write(written(4, 0, 0, nil))
					stream := uint32(1)
					for body := range said {
						if x.pongs--; x.pongs < 0 {
							continue
						}
						time.Sleep(late)
						if x.streams {
							_, _ = near.Write(written(h2frame.TypeHeaders, h2frame.FlagEndBlock, stream, nil))
							stream += 2
						}
						_, _ = near.Write(written(h2frame.TypePing, h2frame.FlagAck, 0, body))
					}
				}()
				if _, err := f.Write(written(4, 0, 0, nil)); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				f.Leave(grace)
				if x.hurried > 0 {
					time.AfterFunc(x.hurried/2, func() { f.Hurry(x.hurried / 2) })
				}
				for buf := make([]byte, 4096); !f.told.Load(); {
					if _, err := f.Read(buf); err != nil {
						t.Fatal(err)
					}
				}
				if got := time.Since(start); got != x.want {
					t.Errorf("told after %v, want %v", got, x.want)
				}
				_ = near.Close()
				_ = far.Close()
			})
		})
	}
}

// A grace that is over while a PING comes back is not, where the PING was first to be heard of.
func TestAGraceThatWasRenewedIsNotOver(t *testing.T) {
	for name, renew := range map[string]func(p *drain){
		"by the PING":     func(p *drain) { p.awaited.Store(1); p.pongReceived(0) },
		"by the next one": func(p *drain) { p.awaited.Store(1); p.pongReceived(0); p.queuePing(2, true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				f := &Conn{Conn: far, below: new(nether)}
				f.Leave(liveMost)
				p := f.drain.Load()
				time.Sleep(liveMost - time.Nanosecond)
				renew(p)
				p.graceOver() // the timer's, which waited
				if f.ended.Load() {
					t.Error("it is over")
				}
				time.Sleep(time.Minute)
				if !f.ended.Load() {
					t.Error("the next one is never over")
				}
				p.stop()
				_ = near.Close()
				_ = far.Close()
			})
		})
	}
}
