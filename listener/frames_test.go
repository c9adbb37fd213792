package listener

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func rawFrame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

func TestFramesKnowWhereTheyAre(t *testing.T) {
	var f frames
	f.preface = len(preface)
	for _, step := range []struct {
		bytes   []byte
		between bool
		want    frames
	}{
		{[]byte(preface[:23]), false, frames{}},
		{[]byte(preface[23:]), true, frames{}},
		{rawFrame(4, 0, 0, nil), true, frames{whole: 1}},
		{rawFrame(typeHeaders, 1, 5, []byte("abc")), false, frames{whole: 2, last: 5, open: true}},
		{rawFrame(typeContinued, 0, 5, nil), false, frames{whole: 3, last: 5, open: true}},
		{rawFrame(typeContinued, flagEndBlock, 5, []byte("d")), true, frames{whole: 4, last: 5}},
		{rawFrame(0, 1, 5, make([]byte, 70000))[:60000], false, frames{whole: 4, last: 5}},
		{make([]byte, 70000-60000+headerLen), true, frames{whole: 5, last: 5}},
		{rawFrame(typeHeaders, flagEndBlock, 3, nil), true, frames{whole: 6, last: 5}},
		{rawFrame(typePing, 0, 0, []byte("baton\x00\x00\x09")), true, frames{whole: 7, last: 5}},
		{rawFrame(typePing, flagAck, 0, []byte("batoN\x00\x00\x09")), true, frames{whole: 8, last: 5}},
		{ping(0x010203), true, frames{whole: 9, last: 5}},
		{rawFrame(typePing, flagAck, 0, ping(0x010203)[headerLen:]), true, frames{whole: 10, last: 5, pong: 0x010203}},
		{rawFrame(typePing, flagAck, 0, []byte("eightish")), true, frames{whole: 11, last: 5, pong: 0x010203}},
		{goAway(maxStream), true, frames{whole: 12, last: 5, pong: 0x010203, goaway: true}},
	} {
		f.pass(step.bytes)
		got := frames{whole: f.whole, last: f.last, open: f.open, goaway: f.goaway, pong: f.pong}
		if got != step.want || f.between() != step.between {
			t.Fatalf("after %.30q: %+v, between %v, want %+v, %v", step.bytes, got, f.between(), step.want, step.between)
		}
	}
}

// However the bytes are cut, the same has passed; and the ends of frames are where a plain reading has them.
func FuzzFrames(f *testing.F) {
	f.Add(bytes.Join([][]byte{rawFrame(4, 0, 0, make([]byte, 12)), rawFrame(typeHeaders, 0, 1, []byte("x")), rawFrame(typeContinued, 4, 1, nil), goAway(7)}, nil), uint64(1))
	f.Add(append(ping(3), rawFrame(typePing, flagAck, 0, ping(3)[headerLen:])...), uint64(2))
	f.Add([]byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 2}, uint64(3))
	f.Add([]byte{0, 0, 8, typePing, flagAck}, uint64(4))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		var whole, cut frames
		whole.pass(b)
		r := rand.New(rand.NewPCG(seed, 1))
		for rest := b; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 20))
			cut.pass(rest[:n])
			rest = rest[n:]
		}
		if whole != cut {
			t.Fatalf("at once %+v, in pieces %+v", whole, cut)
		}
		n, rest := 0, b
		for len(rest) >= headerLen {
			size := headerLen + int(rest[0])<<16 + int(rest[1])<<8 + int(rest[2])
			if len(rest) < size {
				break
			}
			n, rest = n+1, rest[size:]
		}
		if n != whole.whole || whole.between() && len(rest) > 0 || len(rest) == 0 && whole.got != 0 {
			t.Fatalf("%d frames and %d bytes more, got %+v", n, len(rest), whole)
		}
	})
}
