//go:build unix

package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fill sends until the peer, which reads nothing, has no room. What is left is too small for a long word.
func fill(t *testing.T, l *Link) {
	t.Helper()
	f, err := newParcel(word{Text: strings.Repeat("x", 1<<10)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	rc, err := l.out.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for full := false; !full; { // no deadline tells that: on a busy machine it is over before the first try
		err = rc.Write(func(fd uintptr) bool {
			n, err := unix.Write(int(fd), f.data)
			full = errors.Is(err, unix.EAGAIN)
			if !full && (err != nil || n != len(f.data)) {
				t.Errorf("%d of %d bytes are sent: %v", n, len(f.data), err)
				full = true
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSendToAPeerThatReadsNothingEnds(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	begun := time.Now()
	long := word{Text: strings.Repeat("x", MaxText/2)}
	if err := a.Send(long); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) < Patience {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	if err := a.Send(word{}); err == nil { // half of the long one has gone out
		t.Error("a message behind half a one is sent")
	}
}

func TestSendWaitsItsTimeBehindAnother(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	fill(t, a)
	for range 8 {
		_ = a.Post(word{Text: strings.Repeat("p", 1<<10)}) // the first is written for ever
	}
	if err := a.Send(word{}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// What was posted while the peer read nothing arrives in order, and a Send that gave up does not.
func TestPostsWaitForThePeer(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	fill(t, a)
	const n = 100
	for i := range n {
		_ = a.Post(word{N: i + 1, Text: strings.Repeat("p", 1<<10)})
	}
	if err := a.Send(word{N: -1}); err == nil {
		t.Fatal("sent")
	}
	for want := 1; want <= n; {
		var w word
		if _, err := b.Receive(&w); err != nil {
			t.Fatal(err)
		}
		switch w.N {
		case 0: // of fill
		case want:
			want++
		default:
			t.Fatalf("%d comes in the place of %d", w.N, want)
		}
	}
}

func TestPostToAPeerThatNeverReadsLosesTheLink(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	fill(t, a)
	for range maxWaiting + 2 {
		_ = a.Post(word{Text: strings.Repeat("p", 1<<10)})
	}
	if err := a.Send(word{}); err == nil {
		t.Error("the link lives")
	}
}

func TestFlushWaitsForThePosts(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.Flush(time.Hour) // nothing waits
	fill(t, a)
	for range 3 {
		_ = a.Post(word{N: 1, Text: strings.Repeat("p", 1<<10)})
	}
	a.Flush(time.Millisecond) // in vain
	go func() {
		for {
			if _, err := b.Receive(new(word)); err != nil {
				return
			}
		}
	}()
	a.Flush(time.Hour)
	a.out.mu.Lock()
	defer a.out.mu.Unlock()
	if len(a.out.waiting) > 0 {
		t.Errorf("%d wait after Flush", len(a.out.waiting))
	}
}

type telling struct {
	Kind string `json:"kind"`
	Told []byte `json:"told,omitempty"`

	secret []byte
}

func (t telling) Secret() (string, []byte) { return "told", t.secret }

// What a message has secretly comes in the field that it names. No parcel that was sent or taken back
// has it any more.
func TestSecretsOfMessagesAreOverwritten(t *testing.T) {
	near, far := pair(t)
	for _, secret := range []string{"", "s", "a secret"} {
		f, err := newParcel(telling{"kind", nil, []byte(secret)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := near.out.write(f); err != nil {
			t.Fatal(err)
		}
		var got telling
		if _, err := far.Receive(&got); err != nil || string(got.Told) != secret || got.Kind != "kind" {
			t.Errorf("got %+v, %v; want %q", got, err, secret)
		}
		back, _ := newParcel(telling{"kind", nil, []byte(secret)}, nil)
		near.out.waiting = append(near.out.waiting, back)
		near.out.withdraw(back)
		for _, p := range []*parcel{f, back} {
			if len(bytes.Trim(p.data, "\x00")) > 0 {
				t.Errorf("%q is left", p.data)
			}
		}
	}
}

// A connection that waits for a peer that reads nothing, such as one that is halted, is its owner's meanwhile: to close
// it takes no time. Its message is lost then, and no other.
func TestWhatWaitsToBeSentCanBeClosed(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	fill(t, a)
	conn, far := pair(t)
	sent, _, err := a.Lodge(word{Text: strings.Repeat("p", 1<<10)}, conn)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond) // until it waits: a close before that shows nothing
	closed := make(chan error, 1)
	go func() { closed <- conn.Close() }()
	select {
	case <-closed:
	case <-time.After(Patience):
		t.Fatal("not closed")
	}
	if _, err := far.Receive(new(word)); !errors.Is(err, io.EOF) {
		t.Errorf("at the other end of it: %v", err)
	}
	if err := a.Post(word{N: 1}); err != nil {
		t.Fatal(err)
	}
	for {
		var w word
		files, err := b.Receive(&w)
		if err != nil || len(files) > 0 {
			t.Fatal(files, err)
		}
		if w.N == 1 {
			break
		}
	}
	if err := <-sent; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
