package forward

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
)

// most is how many bytes of a body one message carries.
const most = 1 << 20

// message is a call, or the answer to one. It travels as the lengths of its JSON and its data, and the two. Names, of
// fields and calls, are frozen; the other side ignores unknown fields, and answers unknown calls with ErrNotSupported.
type message struct {
	ID        uint64   `json:"id"`
	Op        string   `json:"op,omitempty"` // none: an answer
	N         int64    `json:"n,omitempty"`
	SetHeader bool     `json:"set_header,omitempty"` // Header is the response's from here on
	Header    header   `json:"header,omitempty"`
	Request   *request `json:"request,omitempty"`
	Fault     *fault   `json:"fault,omitempty"`
	data      []byte
}

// header is an http.Header, whose values need not be UTF-8.
type header map[string][][]byte

func headerOf(from http.Header) header {
	h := make(header, len(from))
	for k, vv := range from {
		h[k] = nil
		for _, v := range vv {
			h[k] = append(h[k], []byte(v))
		}
	}
	return h
}

// to puts the header into another.
func (h header) to(other http.Header) http.Header {
	for k, vv := range h {
		other[k] = nil
		for _, v := range vv {
			other[k] = append(other[k], string(v))
		}
	}
	return other
}

// fault is an error or a panic of a call.
type fault struct {
	Text  string `json:"text"`
	Known string `json:"known,omitempty"` // the text of the error among known that it is
	Panic bool   `json:"panic,omitempty"`
}

var known = []error{
	io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded, context.Canceled, context.DeadlineExceeded,
	http.ErrBodyNotAllowed, http.ErrContentLength, http.ErrBodyReadAfterClose, http.ErrHijacked, http.ErrAbortHandler,
	http.ErrNotSupported, syscall.EPIPE, syscall.ECONNRESET,
}

// lost is what a call returns when the connection of the two processes ends before its answer.
var lost = &fault{Text: "forward: the link of the two generations has ended", Known: net.ErrClosed.Error()}

func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	f := &fault{Text: err.Error()}
	for _, k := range known {
		if errors.Is(err, k) {
			f.Known = k.Error()
			break
		}
	}
	return f
}

func (f *fault) Error() string   { return f.Text }
func (f *fault) Timeout() bool   { return errors.Is(f, os.ErrDeadlineExceeded) }
func (f *fault) Temporary() bool { return f.Timeout() }

func (f *fault) Unwrap() error {
	for _, k := range known {
		if k.Error() == f.Known {
			return k
		}
	}
	return nil
}

// err returns the call's error, or panics as the call did.
func (m message) err() error {
	switch f := m.Fault; {
	case f == nil:
		return nil
	case f.Panic && f.Unwrap() != nil:
		panic(f.Unwrap())
	case f.Panic:
		panic(f.Text)
	case f.Text == f.Known:
		return f.Unwrap()
	default:
		return f
	}
}

// peer is one end of the connection: each side calls the other.
type peer struct {
	nc    net.Conn
	heed  func(message) message // answers a call, in a goroutine of its own
	calls sync.WaitGroup        // heed runs, but for reads: what reads may be left behind as net/http leaves it
	over  chan struct{}         // run has ended

	writing sync.Mutex
	in      *bufio.Reader // run's

	mu    sync.Mutex
	last  uint64
	waits map[uint64]chan message // nil: over
}

func newPeer(nc net.Conn) *peer {
	return &peer{nc: nc, over: make(chan struct{}), in: bufio.NewReader(nc), waits: map[uint64]chan message{}}
}

func (p *peer) call(m message) message {
	answer := make(chan message, 1)
	p.mu.Lock()
	if p.waits == nil {
		p.mu.Unlock()
		return message{Fault: lost}
	}
	p.last++
	m.ID = p.last
	p.waits[m.ID] = answer
	p.mu.Unlock()
	p.send(m)
	return <-answer
}

func (p *peer) send(m message) {
	text, _ := json.Marshal(m) // numbers, text and bytes
	b := make([]byte, 0, 8+len(text)+len(m.data))
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.data)))
	b = append(append(b, text...), m.data...)
	p.writing.Lock()
	defer p.writing.Unlock()
	if _, err := p.nc.Write(b); err != nil {
		p.nc.Close() // run ends
	}
}

func (p *peer) receive() (m message, err error) {
	var sizes [8]byte
	if _, err = io.ReadFull(p.in, sizes[:]); err != nil {
		return m, err
	}
	text := binary.BigEndian.Uint32(sizes[:])
	b := make([]byte, int(text)+int(binary.BigEndian.Uint32(sizes[4:])))
	if _, err = io.ReadFull(p.in, b); err != nil {
		return m, err
	}
	m.data = b[text:]
	return m, json.Unmarshal(b[:text], &m)
}

// run hears the other side until the connection ends.
func (p *peer) run() {
	for {
		m, err := p.receive()
		if err != nil {
			break
		}
		if m.Op != "" {
			p.answer(m)
			continue
		}
		p.mu.Lock()
		wait := p.waits[m.ID]
		delete(p.waits, m.ID)
		p.mu.Unlock()
		if wait != nil {
			wait <- m
		}
	}
	p.nc.Close()
	p.mu.Lock()
	waits := p.waits
	p.waits = nil
	p.mu.Unlock()
	for _, wait := range waits {
		wait <- message{Fault: lost}
	}
	close(p.over)
}

func (p *peer) answer(m message) {
	done := func() {}
	if m.Op != "read" && m.Op != "conn.read" {
		p.calls.Add(1)
		done = p.calls.Done
	}
	go func() {
		defer done()
		var a message
		defer func() {
			if v := recover(); v != nil {
				a = message{Fault: &fault{Text: fmt.Sprint(v), Known: fmt.Sprint(v), Panic: true}}
			}
			a.ID = m.ID
			p.send(a)
		}()
		a = p.heed(m)
	}()
}
