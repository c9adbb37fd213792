package h2frame

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"testing"
)

func written(kind, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

func TestFramesKnowWhereTheyAre(t *testing.T) {
	var f Scanner
	f.Preface = len(Preface)
	f.Awaited = 0x010203
	const n = 0x010203
	ack := func(id uint32) []byte { return written(TypePing, FlagAck, 0, Ping(id)[HeaderLen:]) }
	for _, step := range []struct {
		bytes   []byte
		between bool
		want    Scanner
	}{
		{[]byte(Preface[:23]), false, Scanner{Awaited: n}},
		{[]byte(Preface[23:]), true, Scanner{Awaited: n}},
		{written(TypeSettings, 0, 0, nil), true, Scanner{whole: 1, Settings: true, Awaited: n}},
		{written(TypeHeaders, 1, 5, []byte("abc")), false,
			Scanner{whole: 2, Last: 5, open: true, Settings: true, Awaited: n}},
		{written(TypeContinued, 0, 5, nil), false, Scanner{whole: 3, Last: 5, open: true, Settings: true, Awaited: n}},
		{written(TypeContinued, FlagEndBlock, 5, []byte("d")), true,
			Scanner{whole: 4, Last: 5, Settings: true, Awaited: n}},
		{written(0, 1, 5, make([]byte, 70000))[:60000], false, Scanner{whole: 4, Last: 5, Settings: true, Awaited: n}},
		{make([]byte, 70000-60000+HeaderLen), true, Scanner{whole: 5, Last: 5, Settings: true, Awaited: n}},
		{written(TypeHeaders, FlagEndBlock, 3, nil), true, Scanner{whole: 6, Last: 5, Settings: true, Awaited: n}},
		{ack(9), true, Scanner{whole: 7, Last: 5, Settings: true, Awaited: n}},
		{written(TypePing, FlagAck, 0, []byte("batoN\x01\x02\x03")), true,
			Scanner{whole: 8, Last: 5, Settings: true, Awaited: n}},
		{Ping(n), true, Scanner{whole: 9, Last: 5, Settings: true, Awaited: n}},
		{ack(n), true, Scanner{whole: 10, Last: 5, Settings: true, Back: true}},
		{ack(0), true, Scanner{whole: 11, Last: 5, Settings: true, Back: true}},
		{GoAway(MaxStream), true, Scanner{whole: 12, Last: 5, Settings: true, Back: true, GoneAway: true}},
	} {
		f.Scan(step.bytes)
		got := Scanner{whole: f.whole, Last: f.Last, open: f.open, GoneAway: f.GoneAway, Settings: f.Settings,
			Awaited: f.Awaited, Back: f.Back, NotHTTP2: f.NotHTTP2}
		if !reflect.DeepEqual(got, step.want) || f.Between() != step.between {
			t.Fatalf("after %.30q: %+v, between %v, want %+v, %v",
				step.bytes, got, f.Between(), step.want, step.between)
		}
	}
}

// A client may send what is almost an acknowledgement, of any length, or had one pass before it was awaited.
func TestWhatIsNoAcknowledgement(t *testing.T) {
	const n = 7
	ack := written(TypePing, FlagAck, 0, Ping(n)[HeaderLen:])
	for name, frame := range map[string][]byte{
		"no flag":       Ping(n),
		"another type":  written(TypeSettings, FlagAck, 0, Ping(n)[HeaderLen:]),
		"a byte more":   append(bytes.Clone(ack), 0),
		"256 more":      append(bytes.Clone(ack), make([]byte, 1<<8)...),
		"65536 more":    append(bytes.Clone(ack), make([]byte, 1<<16)...),
		"a byte less":   bytes.Clone(ack[:len(ack)-1]),
		"nothing in it": bytes.Clone(ack[:HeaderLen]),
	} {
		size := len(frame) - HeaderLen
		frame[0], frame[1], frame[2] = byte(size>>16), byte(size>>8), byte(size)
		var f Scanner
		f.Scan(written(TypePing, FlagAck, 0, Ping(0)[HeaderLen:]))
		f.Scan(ack)
		f.Awaited = n
		if f.Scan(frame); f.Back || !f.Between() {
			t.Errorf("%s: taken for one: %v; between %v", name, f.Back, f.Between())
		}
		if f.Scan(ack); !f.Back {
			t.Errorf("%s: the one behind it does not count", name)
		}
	}
}

// watch wants SETTINGS, and has of each frame how much of the payload it got.
type watch []int

func (*watch) Wants(kind byte) bool { return kind == TypeSettings }
func (w *watch) Passed(f Frame)     { *w = append(*w, len(f.Payload)) }

// What nobody wants is not kept, nor what is too long. The first frame is to be SETTINGS.
func TestWhatIsKept(t *testing.T) {
	for _, x := range []struct {
		kind, flags byte
		size, kept  int
		settings    bool
	}{
		{TypeSettings, 0, 12, 12, true}, {TypeSettings, 0, MaxKept, MaxKept, true},
		{TypeSettings, 0, MaxKept + 1, 0, true},
		{TypeSettings, FlagAck, 6, 6, false}, {TypeData, 0, 12, 0, false}, {TypeHeaders, FlagEndBlock, 12, 0, false},
	} {
		var got watch
		f := Scanner{Watch: &got}
		for range 2 {
			f.Scan(written(x.kind, x.flags, 0, make([]byte, x.size)))
		}
		want := watch{x.kept, x.kept}
		if !reflect.DeepEqual(got, want) || len(f.kept) > 0 || f.Settings != x.settings {
			t.Errorf("%+v: kept %v, settings %v", x, got, f.Settings)
		}
		f = Scanner{}
		if f.Scan(written(x.kind, x.flags, 0, make([]byte, x.size))); cap(f.kept) > 0 {
			t.Errorf("%+v: kept for nobody", x)
		}
	}
}

// Where another protocol begins than the preface has promised, nothing is taken for a frame.
func TestFramesKnowAliens(t *testing.T) {
	for _, cut := range []int{1, 7, 24} {
		f := Scanner{Preface: len(Preface)}
		said := "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + string(GoAway(7))
		for ; len(said) > 0; said = said[min(cut, len(said)):] {
			f.Scan([]byte(said[:min(cut, len(said))]))
		}
		if !f.NotHTTP2 || f.whole != 0 {
			t.Errorf("in pieces of %d: %+v", cut, f)
		}
	}
}

// However the bytes are cut, the same has passed; and the ends of frames are where a plain reading has them.
func FuzzFrames(f *testing.F) {
	f.Add(bytes.Join([][]byte{written(4, 0, 0, make([]byte, 12)), written(TypeHeaders, 0, 1, []byte("x")),
		written(TypeContinued, 4, 1, nil), GoAway(7)}, nil), uint64(1))
	f.Add(append(Ping(3), written(TypePing, FlagAck, 0, Ping(3)[HeaderLen:])...), uint64(2))
	f.Add([]byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 2}, uint64(3))
	f.Add([]byte{0, 0, 8, TypePing, FlagAck}, uint64(4))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		whole := Scanner{Awaited: uint32(seed)}
		cut := whole
		whole.Scan(b)
		r := rand.New(rand.NewPCG(seed, 1))
		for rest := b; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 20))
			cut.Scan(rest[:n])
			rest = rest[n:]
		}
		if !reflect.DeepEqual(whole, cut) {
			t.Fatalf("at once %+v, in pieces %+v", whole, cut)
		}
		n, rest := int64(0), b
		for len(rest) >= HeaderLen {
			size := HeaderLen + int(rest[0])<<16 + int(rest[1])<<8 + int(rest[2])
			if len(rest) < size {
				break
			}
			n, rest = n+1, rest[size:]
		}
		if n != whole.whole || whole.Between() && len(rest) > 0 || len(rest) == 0 && whole.got != 0 {
			t.Fatalf("%d frames and %d bytes more, got %+v", n, len(rest), whole)
		}
	})
}
