package h2drain

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// resting is below a Conn that may move at any time, but nobody takes it.
type resting struct {
	nether
	offers int
}

func (*resting) AtRest() bool        { return true }
func (r *resting) Offer([]byte) bool { r.offers++; return false }

// asks returns a Conn whose server has been given a PING, and how it is to answer.
func asks(t *testing.T) (f *Conn, h *hose, pong []byte) {
	t.Helper()
	h = &hose{}
	f = New(h, new(resting), 0, nil, nil)
	settings := slices.Concat(written(h2frame.TypeSettings, 0, 0, nil), written(h2frame.TypeSettings, h2frame.FlagAck, 0, nil))
	_, _ = f.Write(settings)
	h.put(settings)
	ping := make([]byte, 64)
	if _, err := io.ReadFull(f, ping[:len(settings)]); err != nil {
		t.Fatal(err)
	}
	f.Move()
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
