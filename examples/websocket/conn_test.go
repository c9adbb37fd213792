package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// pair is a conn, and its far end.
func pair(t *testing.T, early ...byte) (*conn, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	for _, nc := range []net.Conn{near, far} {
		_ = nc.SetDeadline(time.Now().Add(time.Minute))
	}
	return newConn(near, early), far
}

func wantRead(t *testing.T, c *conn, n int, want error) {
	t.Helper()
	got, err := io.ReadFull(c, make([]byte, n))
	if want == nil && (err != nil || got != n) || want != nil && !errors.Is(err, want) {
		t.Fatalf("%d bytes, %v; want %d, %v", got, err, n, want)
	}
}

func TestConnDoesNotReadBeyondAMessage(t *testing.T) {
	two := append(frame(0x81, 3), frame(0x81, 4)...)
	c, _ := pair(t, two...)
	for _, want := range []int{len(frame(0x81, 3)), len(frame(0x81, 4))} {
		if n, err := c.Read(make([]byte, 4096)); n != want || err != nil {
			t.Errorf("read %d, %v; want %d", n, err, want)
		}
	}
}

func TestPausedConnKeepsWhatHasCome(t *testing.T) {
	one, next := frame(0x81, 3), frame(0x81, 200)[:50]
	c, far := pair(t)
	go func() { _, _ = far.Write(append(one, next...)) }()
	wantRead(t, c, 2, nil) // within a message
	c.pause()
	wantRead(t, c, len(one)-2, nil)
	wantRead(t, c, 1, errPaused)
	if got := c.unread(); len(got) != len(next) {
		t.Fatalf("%d unread; want %d", len(got), len(next))
	}
	// Here or elsewhere, reading goes on.
	other := newConn(c.Conn, c.unread())
	c.resume()
	go func() { _, _ = far.Write(frame(0x81, 200)[50:]) }()
	wantRead(t, other, len(next), nil)
	wantRead(t, c, len(frame(0x81, 200)), nil)
	if !c.at.rest() {
		t.Error("not at the end of the message")
	}
}

func TestPauseWakesAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := pair(t)
		read := make(chan error, 1)
		reader := func(n int) {
			go func() { _, err := c.Read(make([]byte, n)); read <- err }()
			synctest.Wait() // until it blocks
		}
		reader(1)
		c.pause()
		if err := <-read; !errors.Is(err, errPaused) {
			t.Fatal(err)
		}
		c.resume()
		reader(100)
		if _, err := far.Write(frame(0x81, 3)); err != nil {
			t.Fatal(err)
		}
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		reader(1)
		_ = c.SetReadDeadline(time.Unix(1, 0)) // a deadline of the library's own
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	})
}

// The library must be able to go on after errPaused, and be none the wiser.
func TestAPausedWebSocketGoesOn(t *testing.T) {
	c, far := pair(t)
	ws, err := resume(c)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		c.pause()
		if _, _, err := ws.Read(ctx); !errors.Is(err, errPaused) {
			t.Fatal(err)
		}
		c.resume()
		go func() { _, _ = far.Write(append(frame(0x01, 3), frame(0x80, 4)...)) }()
		if _, msg, err := ws.Read(ctx); err != nil || len(msg) != 7 {
			t.Fatalf("%q, %v", msg, err)
		}
	}
}

// What the client has sent before it sees our close frame may be a ping.
func TestAPingDoesNotSpoilTheGoodbye(t *testing.T) {
	c, far := pair(t)
	ws, err := resume(c)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	said := make(chan error, 1)
	go func() {
		_, _ = io.ReadFull(far, make([]byte, 4))
		_, _ = far.Write(append(frame(0x89, 0), frame(0x81, 5)...))
		_, err := far.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9}) // StatusGoingAway, too
		said <- err
	}()
	c.leaving.Store(true)
	if err := ws.Close(websocket.StatusGoingAway, ""); err != nil {
		t.Error(err)
	}
	if err := <-said; err != nil {
		t.Errorf("the client's close frame: %v", err)
	}
}
