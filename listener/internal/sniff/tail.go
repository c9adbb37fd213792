package sniff

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
)

// Tail is what lies in net/http's buffer behind a request: the client has sent it in one packet
// with that. The buffer's size and what it offers to Read tell how much that is; the last bytes
// that were read tell what.
type Tail struct {
	last  [128]byte
	n     int  // bytes of last
	Whole bool // an empty buffer was offered: what offers less has the rest of it filled
}

// Add is called by one goroutine at a time, as kept is.
func (l *Tail) Add(p []byte) {
	p = p[max(0, len(p)-len(l.last)):]
	keep := min(l.n, len(l.last)-len(p))
	copy(l.last[:keep], l.last[l.n-keep:l.n])
	l.n = keep + copy(l.last[keep:], p)
}

// AfterHead returns what was read behind the last whole head; not all of it where that is more than
// is kept.
func (l *Tail) AfterHead() (p []byte, all bool) {
	p = l.last[:l.n]
	for _, end := range []string{"\n\r\n", "\n\n"} {
		if i := bytes.LastIndex(p, []byte(end)); i >= 0 {
			p, all = p[i+len(end):], true
		}
	}
	return p, all
}

// Kept returns the bytes in a buffer that has n of them; nil where they are too many to be known.
func (l *Tail) Kept(n int) []byte {
	if n <= 0 || n > l.n {
		return nil
	}
	return l.last[l.n-n : l.n]
}

// Prefix is the first bytes of what a client has sent, and how many there are, in its lowest byte.
type Prefix struct{ atomic.Uint64 }

// Add is called by one goroutine at a time.
func (x *Prefix) Add(p []byte) {
	v := x.Load()
	n := v & 0xff
	if n == 7 {
		return
	}
	if n == 0 && len(p) > 7 { // as mostly
		x.Store(binary.LittleEndian.Uint64(p)<<8 | 7)
		return
	}
	for _, b := range p[:min(len(p), int(7-n))] {
		n++
		v |= uint64(b) << (8 * n)
	}
	x.Store(v&^0xff | n)
}

// Kind tells what they are; what came together with the request before is a part.
func (x *Prefix) Kind() Kind {
	v := x.Load()
	if v&0xff == 0 { // it came together with the request before
		return Part
	}
	var p [7]byte
	for i := range p {
		p[i] = byte(v >> (8 * (i + 1)))
	}
	switch kind := HeadKind(p[:v&0xff], false); kind {
	case Request:
		return Part // the rest was not there
	default:
		return kind
	}
}
