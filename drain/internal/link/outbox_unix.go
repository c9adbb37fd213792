//go:build unix

package link

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Patience is how long Send waits for a peer that doesn't read.
const Patience = 5 * time.Second

// maxWaiting is how many messages may wait for a peer that doesn't read.
const maxWaiting = 4096

// outbox writes frames, one after another, in the order in which they come.
type outbox struct {
	conn Stream

	mu      sync.Mutex // guards what follows
	writing bool       // a goroutine writes, and looks at waiting before it ends
	waiting []*parcel
}

// parcel is a message on its way.
type parcel struct {
	data  []byte
	files []syscall.Conn
	by    time.Time  // zero: for as long as the link lives
	must  bool       // it waits however many do
	sent  chan error // has the result; with room for it
}

// Secretive is a message, an object with some field, that has bytes which json.Marshal is not to see: it leaves a copy
// of what it has seen. They go along in a field of their own, as it would write them.
type Secretive interface {
	Secret() (field string, b []byte)
}

func newParcel(msg any, files []syscall.Conn) (*parcel, error) {
	text, err := json.Marshal(msg)
	if err != nil {
		return nil, fmt.Errorf("link: send: %w", err)
	}
	defer clear(text) // of what it has, no copy is to be left
	var field string
	var secret []byte
	if s, ok := msg.(Secretive); ok {
		field, secret = s.Secret()
	}
	n := len(text)
	if len(secret) > 0 {
		n += len(`,"":""`) + len(field) + base64.StdEncoding.EncodedLen(len(secret))
	}
	if n > MaxText || len(files) > maxFiles {
		return nil, fmt.Errorf("link: send: %d bytes and %d descriptors are more than %d and %d", n,
			len(files), MaxText, maxFiles)
	}
	data := make([]byte, 8, 8+n)
	binary.BigEndian.PutUint32(data, uint32(n))
	binary.BigEndian.PutUint32(data[4:], uint32(len(files)))
	data = append(data, text...)
	if len(secret) > 0 {
		data = append(data[:len(data)-1], `,"`+field+`":"`...)
		data = base64.StdEncoding.AppendEncode(data, secret)
		data = append(data, `"}`...)
	}
	return &parcel{data: data, files: files, sent: make(chan error, 1)}, nil
}

// Send sends msg as JSON, with copies of the descriptors of files, and returns when it is in the
// kernel's hands. A peer that doesn't read for Patience is an error. After an error nothing of msg
// has arrived as far as the receiver is concerned.
func (l *Link) Send(msg any, files ...syscall.Conn) error {
	turn, err := l.Begin(msg, files...)
	if err != nil {
		return err
	}
	return turn.Send()
}

// Turn is a message's place in the order of those that are sent. Its Send must be called.
type Turn struct {
	out  *outbox
	f    *parcel
	mine bool
}

// Begin takes the place in the order that Send has, without waiting; Turn.Send does the rest.
func (l *Link) Begin(msg any, files ...syscall.Conn) (Turn, error) {
	f, err := newParcel(msg, files)
	if err != nil {
		return Turn{}, err
	}
	f.by = time.Now().Add(Patience)
	mine, err := l.out.queue(f)
	return Turn{&l.out, f, mine}, err
}

// Send is Link.Send for the message of Begin, which has returned no error.
func (t Turn) Send() error {
	if t.mine {
		t.f.sent <- t.out.write(t.f)
		t.out.next()
	}
	return t.out.await(t.f)
}

func (o *outbox) await(f *parcel) error {
	late := time.NewTimer(time.Until(f.by))
	defer late.Stop()
	select {
	case err := <-f.sent:
		return err
	case <-late.C:
	}
	if o.withdraw(f) {
		return fmt.Errorf("%w: %w", errBehind, os.ErrDeadlineExceeded)
	}
	return <-f.sent // it is being written, which has the same bound
}

// errBehind says that too many messages wait for a peer that doesn't read.
var errBehind = errors.New("link: send: the peer reads nothing")

// Post sends msg, in order with Send, and returns at once: it is for the goroutine that must not
// wait. The message waits for a peer that doesn't read, for as long as the link lives; a peer that
// lets too many wait loses the link. An error says that the message is too large, or that the link
// is lost.
func (l *Link) Post(msg any) error {
	_, err := l.post(msg, nil, false)
	if errors.Is(err, errBehind) {
		_ = l.Close()
	}
	return err
}

// Insist is Post for what the peer must hear before the link ends: however many messages wait, it does too.
func (l *Link) Insist(msg any) error {
	_, err := l.post(msg, nil, true)
	return err
}

// Lodge is Post with copies of the descriptors of files, which the caller holds open until the
// message is sent. Too many messages that wait are an error, and leave the link as it is. Sent gets
// one value when the message is sent, or the error after which nothing of it has arrived, as Send's.
// Recall takes the message back, and tells whether nothing of it was sent, nor will be; if so, sent
// gets nothing.
func (l *Link) Lodge(msg any, files ...syscall.Conn) (sent <-chan error, recall func() bool, err error) {
	f, err := l.post(msg, files, false)
	if err != nil {
		return nil, nil, err
	}
	return f.sent, func() bool { return l.out.withdraw(f) }, nil
}

// Wait is Post, and returns when the message is sent, for as long as the link lives.
func (l *Link) Wait(msg any) error {
	f, err := l.post(msg, nil, false)
	if err != nil {
		return err
	}
	return <-f.sent
}

// post sends msg in the background.
func (l *Link) post(msg any, files []syscall.Conn, must bool) (*parcel, error) {
	f, err := newParcel(msg, files)
	if err != nil {
		return nil, err
	}
	f.must = must
	mine, err := l.out.queue(f)
	if mine {
		go func() {
			f.sent <- l.out.write(f)
			l.out.next()
		}()
	}
	return f, err
}

// queue takes f, and tells whether its caller is to write it now, and to call next then.
func (o *outbox) queue(f *parcel) (mine bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !o.writing:
		o.writing = true
		return true, nil
	case len(o.waiting) >= maxWaiting && !f.must:
		clear(f.data) // there may be secrets in it
		return false, fmt.Errorf("%w, and %d messages wait", errBehind, len(o.waiting))
	}
	o.waiting = append(o.waiting, f)
	return false, nil
}

// next writes what waits, in the background.
func (o *outbox) next() {
	if f := o.take(); f != nil {
		go func() {
			for ; f != nil; f = o.take() {
				f.sent <- o.write(f)
			}
		}()
	}
}

func (o *outbox) take() *parcel {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		o.writing = false
		return nil
	}
	f := o.waiting[0]
	o.waiting = o.waiting[1:]
	return f
}

// withdraw takes f back, unless it is being written, or was.
func (o *outbox) withdraw(f *parcel) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.Index(o.waiting, f)
	if i >= 0 {
		o.waiting = slices.Delete(o.waiting, i, i+1)
		clear(f.data)
	}
	return i >= 0
}

func (o *outbox) write(f *parcel) error {
	if len(f.data) == 0 {
		return nil // of Flush
	}
	defer clear(f.data)
	_ = o.conn.SetWriteDeadline(f.by)
	sent, err := o.conn.WriteFDs(f.data, f.files)
	if err == nil && sent < len(f.data) {
		_, err = o.conn.Write(f.data[sent:])
	}
	if err != nil {
		if sent > 0 { // half a frame: nothing that follows would be understood
			_ = o.conn.Close()
		}
		return fmt.Errorf("link: send: %w", err)
	}
	return nil
}

// Flush waits until everything that was posted is sent, at most for the time given.
func (l *Link) Flush(within time.Duration) {
	f := &parcel{by: time.Now().Add(within), sent: make(chan error, 1)}
	if mine, err := l.out.queue(f); err != nil {
		return
	} else if mine {
		l.out.next()
		return
	}
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-f.sent:
	case <-late.C:
		l.out.withdraw(f)
	}
}
