package main

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// frame is a client's, with a mask of zeros.
func frame(first byte, length int) []byte {
	b := []byte{first}
	switch {
	case length < 126:
		b = append(b, 0x80|byte(length))
	case length < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(length))
	}
	return append(b, make([]byte, 4+length)...)
}

// rests returns where in all, given in pieces of that size, place rests.
func rests(all []byte, size int) (at []int) {
	var p place
	for n := 0; n < len(all); {
		piece := all[n:min(len(all), n+size)]
		k := p.pass(piece)
		if k < len(piece) && !p.rest() {
			return []int{-1}
		}
		if n += k; p.rest() {
			at = append(at, n)
		}
	}
	return at
}

func TestPlaceRestsAfterEachMessage(t *testing.T) {
	var all []byte
	var want []int
	for _, f := range []struct {
		first  byte
		length int
		rest   bool
	}{
		{0x81, 0, true}, {0x81, 125, true}, {0x82, 126, true}, {0x82, 65535, true}, {0x82, 65536, true},
		// A ping within a message.
		{0x01, 3, false}, {0x00, 0, false}, {0x89, 4, false}, {0x00, 200, false}, {0x80, 0, true},
		{0x89, 0, true}, {0x8a, 125, true}, {0x88, 2, true},
	} {
		all = append(all, frame(f.first, f.length)...)
		if f.rest {
			want = append(want, len(all))
		}
	}
	for _, size := range []int{1, 2, 3, 7, 4096, len(all)} {
		if got := rests(all, size); !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: rests at %v; want %v", size, got, want)
		}
	}
}

func FuzzPlace(f *testing.F) {
	f.Add(frame(0x81, 5), 1)
	f.Add(slices.Concat(frame(0x01, 3), frame(0x89, 0), frame(0x80, 130)), 3)
	f.Add(bytes.Repeat([]byte{0xff}, 40), 2)
	f.Fuzz(func(t *testing.T, all []byte, size int) {
		if size < 1 {
			return
		}
		if got, want := rests(all, size), rests(all, max(1, len(all))); !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: %v; at once %v", size, got, want)
		}
	})
}
