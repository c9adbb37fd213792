package sniff

import "slices"

// Exchange follows HTTP/1 in both directions, to know when no request is under way on a connection
// whose server says nothing of that. It is not safe for concurrent use.
type Exchange struct {
	Begun    int  // requests whose head was read
	Answered int  // requests whose answer was written
	Lost     bool // this is not HTTP/1, or can't be followed any more
	Upgraded bool // Lost, because the server has answered 101
	Ends     bool // the server closes the connection behind the last answer

	in, out message
	open    []asked // requests whose answer is not whole, the oldest first
}

// asked is what must be known of a request when its answer comes.
type asked struct {
	head   bool // its method is HEAD
	awaits bool // its body comes once the server has answered 100
	whole  bool // it has been read
	old    bool // it is of HTTP/1.0
}

// mostOpen is how many requests may be open on a connection that is followed.
const mostOpen = 256

// Read is told of what the server has read.
func (x *Exchange) Read(p []byte) {
	for len(p) > 0 && !x.Lost {
		var ok bool
		if p, ok = x.in.take(p, (*message).request); !ok {
			x.Lost = true
			return
		}
		if m := &x.in; m.at == headDone {
			x.Begun++
			x.open = append(x.open, asked{head: m.head, awaits: m.expects, old: m.old})
			x.Ends = x.Ends || m.ends()
			x.Lost = len(x.open) > mostOpen || !m.body()
		}
		if x.in.at == done {
			x.in = message{}
			if n := len(x.open); n > 0 { // or it has been answered already
				x.open[n-1].whole = true
			}
		}
	}
}

// Wrote is told of what the server has written.
func (x *Exchange) Wrote(p []byte) {
	for len(p) > 0 && !x.Lost {
		ok := len(x.open) > 0
		if ok {
			p, ok = x.out.take(p, (*message).status)
		}
		if !ok {
			x.Lost = true
			return
		}
		m, q := &x.out, &x.open[0]
		switch {
		case m.at != headDone:
		case m.code == 101:
			x.Lost, x.Upgraded = true, true
		case m.code < 200:
			q.awaits = q.awaits && m.code != 100
			x.out = message{}
		default:
			x.Ends = x.Ends || m.ends() || q.old && !m.keeps
			switch {
			case q.head || m.code == 204 || m.code == 304:
				m.at = done
			case !m.chunked && !m.sized:
				m.at, x.Ends = toTheEnd, true
			default:
				x.Lost = !m.body()
			}
		}
		x.answered()
	}
}

// WroteUnseen is told of n bytes that the server has written and nobody has seen.
func (x *Exchange) WroteUnseen(n int64) {
	switch m := &x.out; {
	case n == 0 || m.at == toTheEnd:
	case m.at == inBody && n <= m.left:
		if m.left -= n; m.left == 0 {
			m.at = done
		}
		x.answered()
	default:
		x.Lost = true
	}
}

func (x *Exchange) answered() {
	if x.out.at != done {
		return
	}
	x.Lost = x.Lost || x.open[0].awaits && !x.open[0].whole // the client may keep its body to itself
	x.Answered++
	x.open, x.out = slices.Delete(x.open, 0, 1), message{}
}

// Open tells how many requests were read and not answered.
func (x *Exchange) Open() int { return len(x.open) }

// Partial tells whether the beginning of a request was read that is not counted in Begun.
func (x *Exchange) Partial() bool {
	return !x.in.untouched() && x.in.at <= inFields
}

// Rest tells whether each request that was read has been answered, and nothing else was read.
func (x *Exchange) Rest() bool {
	return !x.Lost && len(x.open) == 0 && x.in.untouched()
}

// Announces tells whether an answer of which p is the beginning can be the last, and where in p the
// field goes that says so.
func (x *Exchange) Announces(p []byte) (at int, ok bool) {
	if x.Lost || !x.in.untouched() || !x.out.untouched() || len(x.open) != 1 || !x.open[0].whole {
		return 0, false
	}
	var m message
	rest, ok := m.take(p, (*message).status)
	return len(p) - len(rest), ok && m.at == inFields && m.code >= 200 && !m.old && !x.open[0].old
}
