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
	f.awaited = 0x010203
	const n = 0x010203
	for _, step := range []struct {
		bytes   []byte
		between bool
		want    frames
	}{
		{[]byte(preface[:23]), false, frames{awaited: n}},
		{[]byte(preface[23:]), true, frames{awaited: n}},
		{rawFrame(typeSettings, 0, 0, nil), true, frames{whole: 1, settings: true, awaited: n}},
		{rawFrame(typeHeaders, 1, 5, []byte("abc")), false, frames{whole: 2, last: 5, open: true, settings: true,
			awaited: n}},
		{rawFrame(typeContinued, 0, 5, nil), false, frames{whole: 3, last: 5, open: true, settings: true, awaited: n}},
		{rawFrame(typeContinued, flagEndBlock, 5, []byte("d")), true, frames{whole: 4, last: 5, settings: true, awaited: n}},
		{rawFrame(0, 1, 5, make([]byte, 70000))[:60000], false, frames{whole: 4, last: 5, settings: true, awaited: n}},
		{make([]byte, 70000-60000+headerLen), true, frames{whole: 5, last: 5, settings: true, awaited: n}},
		{rawFrame(typeHeaders, flagEndBlock, 3, nil), true, frames{whole: 6, last: 5, settings: true, awaited: n}},
		{rawFrame(typePing, flagAck, 0, ping(9)[headerLen:]), true, frames{whole: 7, last: 5, settings: true, awaited: n}},
		{rawFrame(typePing, flagAck, 0, []byte("batoN\x01\x02\x03")), true,
			frames{whole: 8, last: 5, settings: true, awaited: n}},
		{ping(n), true, frames{whole: 9, last: 5, settings: true, awaited: n}},
		{rawFrame(typePing, flagAck, 0, ping(n)[headerLen:]), true, frames{whole: 10, last: 5, settings: true, back: true}},
		{rawFrame(typePing, flagAck, 0, ping(0)[headerLen:]), true, frames{whole: 11, last: 5, settings: true, back: true}},
		{goAway(maxStream), true, frames{whole: 12, last: 5, settings: true, back: true, goaway: true}},
	} {
		f.pass(step.bytes)
		got := frames{whole: f.whole, last: f.last, open: f.open, goaway: f.goaway, settings: f.settings,
			awaited: f.awaited, back: f.back, alien: f.alien}
		if got != step.want || f.between() != step.between {
			t.Fatalf("after %.30q: %+v, between %v, want %+v, %v", step.bytes, got, f.between(), step.want, step.between)
		}
	}
}

// Where another protocol begins than the preface has promised, nothing is taken for a frame.
func TestFramesKnowAliens(t *testing.T) {
	for _, cut := range []int{1, 7, 24} {
		f := frames{preface: len(preface)}
		said := "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + string(goAway(7))
		for ; len(said) > 0; said = said[min(cut, len(said)):] {
			f.pass([]byte(said[:min(cut, len(said))]))
		}
		if !f.alien || f.whole != 0 {
			t.Errorf("in pieces of %d: %+v", cut, f)
		}
	}
}

// However the bytes are cut, the same has passed; and the ends of frames are where a plain reading has them.
func FuzzFrames(f *testing.F) {
	f.Add(bytes.Join([][]byte{rawFrame(4, 0, 0, make([]byte, 12)), rawFrame(typeHeaders, 0, 1, []byte("x")),
		rawFrame(typeContinued, 4, 1, nil), goAway(7)}, nil), uint64(1))
	f.Add(append(ping(3), rawFrame(typePing, flagAck, 0, ping(3)[headerLen:])...), uint64(2))
	f.Add([]byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 2}, uint64(3))
	f.Add([]byte{0, 0, 8, typePing, flagAck}, uint64(4))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		whole := frames{awaited: uint32(seed)}
		cut := whole
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
		n, rest := int64(0), b
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
