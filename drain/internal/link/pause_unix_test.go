//go:build unix

package link

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPauseEndsAWaitingReceive(t *testing.T) {
	_, b := pair(t)
	got := make(chan error, 1)
	go func() {
		_, err := b.Receive(new(word))
		got <- err
	}()
	b.Pause()
	if err := <-got; err != ErrPaused {
		t.Errorf("%v; want ErrPaused", err)
	}
	for range 2 {
		if _, err := b.Receive(new(word)); err != ErrPaused {
			t.Errorf("from now on %v; want ErrPaused", err)
		}
	}
}

func TestPauseInTheMiddleOfAFrameLetsItEnd(t *testing.T) {
	a, b := pair(t)
	f := file(t, "x")
	whole := frame(`{"Text":"whole","N":3}`, 1)
	for _, cut := range []int{1, 7, 8, 12, len(whole) - 1} {
		a, b := a, b
		if cut > 1 {
			a, b = pair(t)
		}
		type result struct {
			word
			files int
			err   error
		}
		got := make(chan result, 1)
		go func() {
			var r result
			files, err := b.Receive(&r.word)
			r.files, r.err = len(files), err
			closeAll(files)
			got <- r
		}()
		a.raw(t, whole[:cut], int(f.Fd()))
		for inFrame := false; !inFrame; { // until Receive has the first bytes
			b.pause.Lock()
			inFrame = b.inFrame
			b.pause.Unlock()
		}
		b.Pause()
		a.raw(t, whole[cut:])
		if r := <-got; r.err != nil || r.Text != "whole" || r.files != 1 {
			t.Errorf("cut at %d: %+v", cut, r)
		}
		if _, err := b.Receive(new(word)); err != ErrPaused {
			t.Errorf("then %v; want ErrPaused", err)
		}
	}
}

// The peer may be halted in the middle of a frame.
func TestPauseInTheMiddleOfAFrameThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	got := make(chan error, 1)
	go func() {
		_, err := b.Receive(new(word))
		got <- err
	}()
	a.raw(t, frame(`{"Text":"whole","N":3}`, 0)[:12])
	for inFrame := false; !inFrame; {
		b.pause.Lock()
		inFrame = b.inFrame
		b.pause.Unlock()
	}
	b.Pause()
	wantItGivenUp(t, got)
}

// Pause may come when the first bytes have been read, and Receive does not know it yet.
func TestPauseAtTheBeginningOfAFrameThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.raw(t, frame(`{"Text":"whole","N":3}`, 0)[:12])
	b.paused = true // as by a Pause that read(2) has not seen
	got := make(chan error, 1)
	go func() {
		_, err := b.Receive(new(word))
		got <- err
	}()
	wantItGivenUp(t, got)
}

func wantItGivenUp(t *testing.T, got <-chan error) {
	t.Helper()
	select {
	case err := <-got:
		if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ErrPaused) {
			t.Error(err)
		}
	case <-time.After(2 * Patience):
		t.Error("Receive waits for the rest")
	}
}

// What a paused end has not received, the next one to have it receives, and nothing twice.
func TestPausedLinkIsHandedOnWithoutLoss(t *testing.T) {
	a, b := pair(t)
	carrier, end := pair(t)
	const n = 2000
	go func() {
		for i := range n {
			if err := a.Send(word{strings.Repeat("x", i%2000), i}); err != nil {
				t.Error(err)
				return
			}
		}
		_ = a.Close()
	}()
	next := 0
	hear := func(l *Link) error {
		for {
			var w word
			files, err := l.Receive(&w)
			closeAll(files)
			if err != nil {
				return err
			}
			if w.N != next || len(w.Text) != w.N%2000 {
				t.Errorf("message %d: %d bytes; want message %d", w.N, len(w.Text), next)
			}
			next++
		}
	}
	for l, hops := b, 0; ; hops++ {
		var paused sync.WaitGroup
		if hops < 20 {
			paused.Go(l.Pause)
		}
		err := hear(l)
		paused.Wait()
		if errors.Is(err, io.EOF) {
			break
		}
		if !errors.Is(err, ErrPaused) {
			t.Fatal(err)
		}
		if err := carrier.Send(word{"elder", hops}, l); err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		files, err := end.Receive(new(word))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if l, err = Open(files[0]); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	if next != n {
		t.Errorf("%d messages arrived; want %d", next, n)
	}
}
