package h2state

// Table follows the dynamic table of HPACK (RFC 7541) that the header blocks of one side fill. It
// has the entries as they were sent, so that a new decoder comes to have them by reading Text.
//
// It does not decode Huffman's code, and takes an entry for as short as it can be. So it may have
// older entries than the table has. A decoder that has those too decodes the same: what is sent
// counts entries from the newest.
type Table struct {
	text    queue[byte] // the entries, the oldest first: literals with incremental indexing, by static names only
	entries queue[entry]
	size    int // at least that of the table
	max     int // of size
	lost    bool
}

// entry says where in all text that was ever there its name and its value begin, and its value ends. The octets are the
// least length of its name, 0 for a name of the static table.
type entry struct{ name, value, end, size, octets int }

// How HPACK (6.1 to 6.3, 4.1 and appendix A) begins a field, and what an entry adds to its length.
const (
	indexed     = 0x80
	incremental = 0x40
	resizing    = 0x20
	static      = 61 // names that are known
	overhead    = 32
	defaultSize = 4096
	huffman     = 0x80 // of a string
	longestCode = 30   // bits that Huffman's code has for an octet
)

// maxSize is the largest table that is followed.
const maxSize = 64 << 10

func newTable(max int, text []byte) (t Table) {
	t.max = max
	t.Feed(text)
	return t
}

// Text is a header block without meaning: the entries, the oldest first. It reports false where
// they are not known.
func (t *Table) Text() ([]byte, bool) { return t.text.left(), !t.lost }

// Feed is told of a whole header block.
func (t *Table) Feed(block []byte) {
	for len(block) > 0 && !t.lost {
		block = t.field(block)
	}
	if t.lost {
		*t = Table{lost: true}
	}
}

// field reads what a block begins with, and returns the rest.
func (t *Table) field(p []byte) []byte {
	switch {
	case p[0]&indexed != 0:
		_, p = t.number(p, 7)
	case p[0]&incremental != 0:
		return t.insert(p)
	case p[0]&resizing != 0:
		var n int
		if n, p = t.number(p, 5); n > maxSize {
			t.lost = true
		}
		t.max = n
		t.evict()
	default:
		var name int
		if name, p = t.number(p, 4); name == 0 {
			_, _, p = t.str(p)
		}
		_, _, p = t.str(p)
	}
	return p
}

func (t *Table) insert(p []byte) (rest []byte) {
	at := t.text.end()
	index, p := t.number(p, 6)
	octets := 0
	switch own := len(t.entries.left()) - (index - static); {
	case index == 0:
		var name []byte
		name, octets, p = t.str(p)
		t.text.add(incremental)
		t.text.add(name...)
	case index <= static:
		t.text.add(incremental | byte(index))
	case own >= 0:
		from := t.entries.left()[own]
		octets = from.octets
		t.text.add(t.text.left()[from.name-t.text.gone : from.value-t.text.gone]...)
	default:
		t.lost = true
	}
	value, n, p := t.str(p)
	if t.lost {
		return nil
	}
	valueAt := t.text.end()
	t.text.add(value...)
	e := entry{at, valueAt, t.text.end(), overhead + octets + n, octets}
	t.entries.add(e)
	t.size += e.size
	t.evict()
	return p
}

// evict drops the oldest entries that have no room.
func (t *Table) evict() {
	drop, all := 0, t.entries.left()
	for t.size > t.max && drop < len(all) {
		t.size -= all[drop].size
		drop++
	}
	if drop > 0 {
		t.text.drop(all[drop-1].end - t.text.gone)
		t.entries.drop(drop)
	}
}

// queue loses what it has from the front. What is left is moved there once it is the smaller part: so each value is
// moved less than once for one that goes.
type queue[T any] struct {
	all  []T
	from int // what is left begins there
	gone int // how many were dropped
}

func (q *queue[T]) left() []T  { return q.all[q.from:] }
func (q *queue[T]) end() int   { return q.gone + len(q.left()) }
func (q *queue[T]) add(v ...T) { q.all = append(q.all, v...) }

func (q *queue[T]) drop(n int) {
	q.from += n
	q.gone += n
	if q.from > len(q.all)/2 {
		q.all, q.from = append(q.all[:0], q.left()...), 0
	}
}

// number reads an integer with a prefix of that many bits (5.1).
func (t *Table) number(p []byte, bits int) (n int, rest []byte) {
	if len(p) == 0 {
		t.lost = true
		return 0, nil
	}
	most := 1<<bits - 1
	if n = int(p[0]) & most; n < most {
		return n, p[1:]
	}
	for i, shift := 1, 0; i < len(p) && shift <= 21; i, shift = i+1, shift+7 {
		n += int(p[i]&0x7f) << shift
		if p[i]&0x80 == 0 {
			return n, p[i+1:]
		}
	}
	t.lost = true
	return 0, nil
}

// str reads a string (5.2), which it returns as it is; it has at least so many octets.
func (t *Table) str(p []byte) (text []byte, octets int, rest []byte) {
	whole, coded := p, len(p) > 0 && p[0]&huffman != 0
	n, p := t.number(p, 7)
	if n > len(p) {
		t.lost = true
	}
	if t.lost {
		return nil, 0, nil
	}
	text, octets = whole[:len(whole)-len(p)+n], n
	if coded {
		octets = n * 8 / longestCode
	}
	return text, octets, p[n:]
}
