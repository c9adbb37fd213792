package listener

import (
	"sync"
	"testing"
	"time"
)

// A sweep takes who has connected, so that the kernel's queue can go.
func TestSweepTakesWhatIsQueued(t *testing.T) {
	set := New(Config{})
	defer set.Close()
	so := mustListen(t, set, "tcp", "127.0.0.1:0").(*socket)
	set.Open()
	arrive := func() {
		t.Helper()
		_ = dialTo(t, so.Addr())
	}
	const n = 8
	for range n {
		arrive()
	}
	if so.sweep(); len(so.queue) != n {
		t.Errorf("%d taken; want the %d that were there", len(so.queue), n)
	}
}

// Who closes a socket in the midst of a sweep waits for no more than a part of that, and the sweep for nobody.
func TestCloseAmidASweep(t *testing.T) {
	set := New(Config{})
	ln, err := set.Listen("tcp", "127.0.0.1:0") // which is not closed once more where that would not end
	check(t, err)
	so := ln.(*socket)
	set.Open()
	const n = 64
	for range n {
		_ = dialTo(t, so.Addr())
	}
	var both sync.WaitGroup
	set.mu.Lock() // which the sweep needs for the first of them
	both.Go(func() { so.sweep() })
	for begun := false; !begun; {
		if begun = !so.mu.TryLock(); !begun {
			begun = so.ending
			so.mu.Unlock()
		}
	}
	both.Go(func() { _ = so.Close() })
	time.Sleep(20 * time.Millisecond) // it waits for the sweep
	set.mu.Unlock()
	over := make(chan struct{})
	go func() {
		defer close(over)
		both.Wait()
	}()
	select {
	case <-over:
	case <-time.After(patience / 6):
		t.Fatal("the two wait for each other")
	}
	set.Close()
}
