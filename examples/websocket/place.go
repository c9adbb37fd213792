package main

import "encoding/binary"

// place is where in a stream of WebSocket frames (RFC 6455, section 5.2) one is.
// It looks at lengths and at the ends of messages; the rest is the library's.
type place struct {
	header  [14]byte
	have    int    // bytes of a frame's header
	payload uint64 // bytes to come of a frame
	open    bool   // a message of several frames is not complete
}

// rest tells whether nothing of a message has passed without its end.
func (f *place) rest() bool { return f.have == 0 && f.payload == 0 && !f.open }

// pass goes on to the end of a message or control frame, or of b, and returns
// how many bytes that is.
func (f *place) pass(b []byte) (n int) {
	for n < len(b) {
		if f.payload > 0 {
			k := min(f.payload, uint64(len(b)-n))
			f.payload -= k
			n += int(k)
		} else {
			f.header[f.have] = b[n]
			f.have++
			n++
			f.begin()
		}
		if f.rest() {
			break
		}
	}
	return n
}

// begin looks whether the header is complete.
func (f *place) begin() {
	if f.have < 2 {
		return
	}
	h := f.header[:]
	length, size := uint64(h[1]&0x7f), 2
	switch length {
	case 126:
		size, length = 4, uint64(binary.BigEndian.Uint16(h[2:]))
	case 127:
		size, length = 10, binary.BigEndian.Uint64(h[2:])
	}
	if h[1]&0x80 != 0 { // masked, as a client's must be
		size += 4
	}
	if f.have < size {
		return
	}
	if opcode := h[0] & 0x0f; opcode < 8 { // control frames come in between
		f.open = h[0]&0x80 == 0
	}
	f.have, f.payload = 0, length
}
