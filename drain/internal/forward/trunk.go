package forward

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
)

// trunk is one end of the connection between the two processes, which all requests share. Each side calls the other.
// Nothing that a call waits for holds up another one: the goroutine that reads never waits.
type trunk struct {
	nc    net.Conn
	serve func(message) // begins a request that comes; nil: none may
	over  chan struct{} // run has ended

	writing sync.Mutex // guards what follows, and writes
	begun   bool       // preface has been written

	mu      sync.Mutex // guards what follows
	last    uint64
	streams map[uint64]*stream // nil: over
	lost    *fault             // why it is
	leaves  bool               // it takes no further request, and ends with the last one
}

// lasting has the calls that may outlast the request. A read that is under way at its end goes on, as in net/http.
var lasting = map[string]bool{"read": true, "conn.read": true, "draining": true}

// stream is one request of a trunk.
type stream struct {
	*trunk
	id    uint64
	heed  func(message) message // answers a call, in a goroutine of its own; set before the first one can come
	ended func()                // called by end; nil: nothing
	calls sync.WaitGroup        // heed runs, but for lasting calls
	over  chan struct{}         // no call comes any more, and none gets an answer

	mu    sync.Mutex // guards what follows
	last  uint64
	waits map[uint64]chan message // nil: over
	lost  *fault                  // what calls return then
}

func newTrunk(nc net.Conn, serve func(message)) *trunk {
	return &trunk{nc: nc, serve: serve, over: make(chan struct{}), streams: make(map[uint64]*stream)}
}

// add returns nil where no request may begin any more, and why if it is over. ID 0 is a new one's.
func (t *trunk) add(id uint64) (*stream, *fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.streams == nil || id == 0 && t.leaves {
		return nil, t.lost
	}
	if id == 0 {
		t.last++
		id = t.last
	}
	s := &stream{trunk: t, id: id, over: make(chan struct{}), waits: make(map[uint64]chan message)}
	t.streams[id] = s
	return s, nil
}

// end ends a stream, on this side: what comes for it later is ignored.
func (s *stream) end(lost *fault) {
	t := s.trunk
	t.mu.Lock()
	if t.streams[s.id] == s {
		delete(t.streams, s.id)
	}
	if t.leaves && len(t.streams) == 0 {
		_ = t.nc.Close()
	}
	t.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits == nil {
		return
	}
	close(s.over) // first: a caller that gets no answer relies on it
	for _, wait := range s.waits {
		wait <- message{Fault: lost}
	}
	s.waits, s.lost = nil, lost
	if s.ended != nil {
		s.ended()
	}
}

func (s *stream) call(m message) message { return <-s.ask(m) }

// ask returns when m is sent.
func (s *stream) ask(m message) <-chan message {
	answer := make(chan message, 1)
	s.mu.Lock()
	if s.waits == nil {
		defer s.mu.Unlock()
		answer <- message{Fault: s.lost}
		return answer
	}
	s.last++
	m.ID = s.last
	s.waits[m.ID] = answer
	s.mu.Unlock()
	s.send(m)
	return answer
}

func (s *stream) send(m message) {
	m.Stream = s.id
	s.trunk.write(m.append(make([]byte, 0, 512+len(m.data))))
}

func (t *trunk) write(b []byte) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if !t.begun {
		t.begun, b = true, slices.Concat(preface, b)
	}
	if _, err := t.nc.Write(b); err != nil {
		t.nc.Close() // run ends
	}
}

// gone is what calls return without an answer.
func gone(why string) *fault {
	return &fault{Text: "forward: the link of the two generations " + why, Known: net.ErrClosed.Error(), lost: true}
}

// run hears the other side until the connection ends. It returns an error if that speaks another version.
func (t *trunk) run() error {
	in, begin := bufio.NewReaderSize(t.nc, 16<<10), make([]byte, len(preface))
	lost, err := gone("has ended"), error(nil)
	if _, e := io.ReadFull(in, begin); e == nil && !bytes.Equal(begin, preface) {
		lost = gone(fmt.Sprintf("speaks %q at the other end, not %q: another version of the library", begin, preface))
		err = lost
		t.write(nil) // it is to know, too
	} else if e == nil {
		for m, e := receive(in); e == nil; m, e = receive(in) {
			t.take(m)
		}
	}
	t.nc.Close()
	t.mu.Lock()
	streams := t.streams
	t.streams, t.lost = nil, lost
	t.mu.Unlock()
	for _, s := range streams {
		s.end(lost)
	}
	close(t.over)
	return err
}

func (t *trunk) take(m message) {
	t.mu.Lock()
	s := t.streams[m.Stream]
	switch {
	case s != nil && m.Op != "" && !lasting[m.Op]:
		s.calls.Add(1) // with mu: the stream may end just now
	case m.Op == "leave":
		if t.leaves = true; len(t.streams) == 0 {
			_ = t.nc.Close()
		}
	}
	t.mu.Unlock()
	switch {
	case s == nil && m.Op == "serve" && t.serve != nil:
		t.serve(m)
	case s == nil: // over
	case m.Op == "":
		s.mu.Lock()
		if wait := s.waits[m.ID]; wait != nil {
			delete(s.waits, m.ID)
			wait <- m
		}
		s.mu.Unlock()
	default:
		go s.answer(m)
	}
}

func (s *stream) answer(m message) {
	if !lasting[m.Op] {
		defer s.calls.Done()
	}
	var a message
	defer func() {
		if v := recover(); v != nil {
			a = message{Fault: &fault{Text: fmt.Sprint(v), Known: fmt.Sprint(v), Panic: true}}
		}
		if a.ID = m.ID; a.ID != 0 {
			s.send(a)
		}
	}()
	a = s.heed(m)
}
