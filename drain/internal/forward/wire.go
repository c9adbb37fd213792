package forward

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
)

// version is of all that goes over a connection, and each side begins with it. Another one is refused: then a request
// that came to a generation of another version gets 502, and the log says why. What a message has, in which order, and
// the names of the calls are of one version. Version 1 is the first that was released.
const version = 1

var preface = []byte{'f', 'w', 'd', version}

// most is how many bytes of a body one message carries.
const most = 1 << 20

// message is a call, or the answer to one. It travels as the lengths of its fields and its data, and the two. The other
// side answers unknown calls with ErrNotSupported.
type message struct {
	Stream    uint64 // the request
	ID        uint64 // of the call; 0: it gets no answer
	Op        string // none: an answer
	N         int64
	SetHeader bool        // Header is the response's from here on
	Header    http.Header // or what was read as trailers
	Early     *early      // comes before all else
	About     *About      // of the call that begins a request, and Request
	Request   *request
	Fault     *fault
	data      []byte
}

// early is the beginning of an answer that net/http would not send yet.
type early struct {
	Status int64
	Header http.Header
	Data   []byte
}

func (m *message) code(c *code) {
	c.uint(&m.Stream)
	c.uint(&m.ID)
	c.text(&m.Op)
	c.int(&m.N)
	c.flag(&m.SetHeader)
	c.header(&m.Header)
	optional(c, &m.Early)
	optional(c, &m.About)
	optional(c, &m.Request)
	optional(c, &m.Fault)
}

func (e *early) code(c *code) {
	c.int(&e.Status)
	c.header(&e.Header)
	c.bytes(&e.Data)
}

// code writes fields, or reads them in the same order.
type code struct {
	b     []byte
	reads bool
	text_ string // b, where reads
}

var errShort = errors.New("forward: a message ends early")

func (c *code) uint(p *uint64) {
	if !c.reads {
		c.b = binary.AppendUvarint(c.b, *p)
		return
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		panic(errShort)
	}
	*p, c.b, c.text_ = v, c.b[n:], c.text_[n:]
}

func (c *code) int(p *int64) {
	u := uint64(*p<<1) ^ uint64(*p>>63)
	c.uint(&u)
	*p = int64(u>>1) ^ -int64(u&1)
}

func (c *code) flag(p *bool) {
	var u uint64
	if *p {
		u = 1
	}
	c.uint(&u)
	*p = u == 1
}

// length is that of n things, or says how many come.
func (c *code) length(n int) int {
	u := uint64(n)
	if c.uint(&u); c.reads && u > uint64(len(c.b)) {
		panic(errShort)
	}
	return int(u)
}

func (c *code) text(p *string) {
	n := c.length(len(*p))
	if !c.reads {
		c.b = append(c.b, *p...)
		return
	}
	*p, c.b, c.text_ = c.text_[:n], c.b[n:], c.text_[n:]
}

func (c *code) bytes(p *[]byte) {
	n := c.length(len(*p))
	if !c.reads {
		c.b = append(c.b, *p...)
		return
	}
	*p, c.b, c.text_ = c.b[:n:n], c.b[n:], c.text_[n:]
}

func list[T any](c *code, p *[]T, each func(*T)) {
	n := c.length(len(*p))
	if c.reads && n > 0 {
		*p = make([]T, n)
	}
	for i := range *p {
		each(&(*p)[i])
	}
}

func (c *code) header(p *http.Header) {
	n := c.length(len(*p))
	if c.reads {
		if n > 0 {
			*p = make(http.Header, n)
		}
		for range n {
			var key string
			var values []string
			c.text(&key)
			list(c, &values, c.text)
			(*p)[key] = values
		}
		return
	}
	for key, values := range *p {
		c.text(&key)
		list(c, &values, c.text)
	}
}

// optional codes what there may be none of.
func optional[T any, P interface {
	*T
	code(*code)
}](c *code, p *P) {
	is := *p != nil
	if c.flag(&is); !is {
		return
	}
	if c.reads {
		*p = new(T)
	}
	(*p).code(c)
}

// append appends m to b as it travels.
func (m *message) append(b []byte) []byte {
	c := code{b: append(b, make([]byte, 8)...)}
	m.code(&c)
	sizes := c.b[len(b):]
	binary.BigEndian.PutUint32(sizes, uint32(len(sizes)-8))
	binary.BigEndian.PutUint32(sizes[4:], uint32(len(m.data)))
	return append(c.b, m.data...)
}

func receive(from io.Reader) (m message, err error) {
	var sizes [8]byte
	if _, err = io.ReadFull(from, sizes[:]); err != nil {
		return m, err
	}
	defer func() {
		if recover() != nil {
			err = errShort
		}
	}()
	fields := binary.BigEndian.Uint32(sizes[:])
	b := make([]byte, int(fields)+int(binary.BigEndian.Uint32(sizes[4:])))
	if _, err = io.ReadFull(from, b); err != nil {
		return m, err
	}
	m.data = b[fields:]
	m.code(&code{b: b[:fields], text_: string(b[:fields]), reads: true})
	if m.Op == "serve" && (m.About == nil || m.Request == nil) {
		return m, errShort
	}
	return m, nil
}

// fault is an error or a panic of a call.
type fault struct {
	Text  string
	Known string // the text of the error among known that it is
	Panic bool
	lost  bool // there was no answer
}

func (f *fault) code(c *code) {
	c.text(&f.Text)
	c.text(&f.Known)
	c.flag(&f.Panic)
}

var known = []error{
	io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded, context.Canceled, context.DeadlineExceeded,
	http.ErrBodyNotAllowed, http.ErrContentLength, http.ErrBodyReadAfterClose, http.ErrHijacked, http.ErrAbortHandler,
	http.ErrNotSupported, syscall.EPIPE, syscall.ECONNRESET,
}

func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	f := &fault{Text: err.Error()}
	if i := slices.IndexFunc(known, func(k error) bool { return errors.Is(err, k) }); i >= 0 {
		f.Known = known[i].Error()
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
