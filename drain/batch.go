package drain

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/baton-go/baton/listener"
)

// A batch is the tickets of an offer in a form that takes few bytes, and little time. Its numbers are uvarints, as
// encoding/binary has them, and a text has its length before it:
//
//	the form of the batch: 1
//	how many names there are, and the names; "" is name 0, and not among them
//	for each ticket its length, and in that: the names of its listener and its Form, flags, the State, Left if not 0
//
// What stands behind that, a later version may have put there. What it can't do without, it says by another Form.
const batchForm = 1

const (
	flagIdle = 1 << iota
	flagHijacked
)

func batchOf(tickets []listener.Ticket) []byte {
	names := []string{""}
	place := func(name string) uint64 {
		at := slices.Index(names, name)
		if at < 0 {
			at = len(names)
			names = append(names, name)
		}
		return uint64(at)
	}
	const numbers = 6 * binary.MaxVarintLen64
	most, all := 0, 0
	for _, t := range tickets {
		most, all = max(most, numbers+len(t.State)), all+numbers+len(t.State)
	}
	// None of them grows, which would leave a copy of secrets.
	entry, entries := make([]byte, 0, most), make([]byte, 0, all)
	for _, t := range tickets {
		var flags uint64
		if t.Idle {
			flags |= flagIdle
		}
		if t.Hijacked {
			flags |= flagHijacked
		}
		entry = binary.AppendUvarint(entry[:0], place(t.Listener))
		entry = binary.AppendUvarint(entry, place(t.Form))
		entry = binary.AppendUvarint(entry, flags)
		entry = appendText(entry, t.State)
		if t.Left > 0 {
			entry = binary.AppendUvarint(entry, uint64(t.Left))
		}
		entries = appendText(entries, entry)
	}
	b := binary.AppendUvarint([]byte{batchForm}, uint64(len(names)-1))
	for _, name := range names[1:] {
		b = appendText(b, []byte(name))
	}
	b = append(b, entries...)
	clear(entry[:most])
	clear(entries)
	return b
}

func appendText(b, text []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

var errBatch = errors.New("drain: an offer can't be read")

// ticketsOf is the reverse of batchOf. The states lie in b.
func ticketsOf(b []byte) (tickets []listener.Ticket, err error) {
	all := batchReader{rest: b}
	if all.number() != batchForm {
		return nil, errBatch
	}
	names := []string{""}
	for n := all.number(); n > 0 && !all.bad; n-- {
		names = append(names, string(all.text()))
	}
	for len(all.rest) > 0 && !all.bad {
		one := batchReader{rest: all.text()}
		at, form, flags, state := one.number(), one.number(), one.number(), one.text()
		left := uint64(0)
		if len(one.rest) > 0 {
			left = one.number()
		}
		if all.bad = all.bad || one.bad || max(at, form) >= uint64(len(names)); !all.bad {
			tickets = append(tickets, listener.Ticket{Listener: names[at], Form: names[form], State: state,
				Left: int64(left), Idle: flags&flagIdle != 0, Hijacked: flags&flagHijacked != 0})
		}
	}
	if all.bad {
		return nil, errBatch
	}
	return tickets, nil
}

type batchReader struct {
	rest []byte
	bad  bool
}

func (r *batchReader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *batchReader) text() []byte {
	n := r.number()
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	text := r.rest[:n:n]
	r.rest = r.rest[n:]
	return text
}
