package dormant

import (
	"io"
	"maps"
	"math"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A connection that was adopted between two requests lies dormant until its client sends something, and gets to a
// server then, at once. A server has a goroutine and buffers for each, and package net has thirty system calls. To do
// that for thousands of connections in the moment of a swap would keep the active clients waiting. Most clients rest
// for longer: theirs get to the server in small groups, within restTime. In a swap before that, they go on without one.

const (
	restTime  = 5 * time.Second // from the last Add, about
	restLeast = 16              // of a group
)

// Rest has what rests; a nil one has nothing. Home's lock guards it: the caller of a method holds it.
type Rest[C Guest] struct {
	home   Home[C]
	poller *Poller      // nil: there is none, for want of a descriptor
	conns  []C          // by their ids at the poller; zero: it rests no more
	left   int          // how many rest
	next   int          // the ones before it rest no more
	group  int          // how many go at once
	added  bool         // some have come since the last tick
	again  map[int]bool // places to be tried at the next tick
	all    bool         // all are, since WakeAll has come to an end too soon
	every  time.Duration
}

// Guest is a connection that rests, of the type that its user has for it.
type Guest interface {
	comparable
	io.Closer
}

// Home is the owner of a Rest.
type Home[C Guest] interface {
	sync.Locker

	// Wake gives c to a server, with the lock held.
	Wake(c C) Outcome

	// GoesOn tells whether what rests may go to another process, so that its turn does not come now.
	GoesOn() bool
}

// Outcome is that of a Wake.
type Outcome int

// The outcomes.
const (
	Over   Outcome = iota // c rests no more: a server has it, or it is closed
	Stays                 // another process may be about to take it
	Later                 // it is to be tried again at the next tick
	Scarce                // likewise, and no other one has a chance before
)

// Begin returns one for home, which passes a group on every so often.
func Begin[C Guest](home Home[C], every time.Duration) *Rest[C] {
	r := &Rest[C]{home: home, every: every, again: make(map[int]bool)}
	if p, err := NewPoller(); err == nil {
		r.poller = p
		go r.listen()
	}
	time.AfterFunc(every, r.Tick)
	return r
}

// Add has c rest, which nc is a form of, and returns its place. Where the kernel does not tell when its client sends,
// or that is not to be awaited, c is woken now.
func (r *Rest[C]) Add(c C, nc syscall.Conn, awaited bool) (place int) {
	place = len(r.conns)
	r.conns = append(r.conns, c)
	r.left++
	r.added = true
	if !awaited || r.poller == nil || r.poller.Add(nc, int32(place)) != nil {
		r.again[place] = true // whatever becomes of it now
		r.wake(place)
	}
	return place
}

// Wake wakes c, unless it rests no more.
func (r *Rest[C]) Wake(c C, place int) {
	if r.has(c, place) {
		r.wake(place)
	}
}

// Remove makes c rest no more.
func (r *Rest[C]) Remove(c C, place int) {
	if r.has(c, place) {
		r.remove(place)
	}
}

func (r *Rest[C]) has(c C, place int) bool {
	return r != nil && place < len(r.conns) && r.conns[place] == c
}

// WakeAll wakes all, the oldest first.
func (r *Rest[C]) WakeAll() {
	if r != nil {
		r.all = !r.wakeSome(math.MaxInt)
	}
}

// Abandon closes all that rest, without the lock: Close may call Remove.
func (r *Rest[C]) Abandon() {
	if r.Empty() {
		return
	}
	all := slices.Clone(r.conns)
	go func() {
		var none C
		for _, c := range all {
			if c != none {
				_ = c.Close()
			}
		}
	}()
}

// Hasty tells whether the next tick tries some that could not be woken, or that the poller doesn't know.
func (r *Rest[C]) Hasty() bool { return r.all || len(r.again) > 0 }

// Empty tells whether nothing rests any more, which is for good.
func (r *Rest[C]) Empty() bool { return r == nil || r.left == 0 }

// listen wakes those whose clients have sent something.
func (r *Rest[C]) listen() {
	for {
		places, err := r.poller.Wait()
		if err != nil {
			return
		}
		r.home.Lock()
		for _, i := range places {
			r.wake(int(i))
		}
		r.home.Unlock()
	}
}

// Tick wakes a group, unless connections are coming in, or go on to another process. It takes the lock, and is called
// every so often by itself.
func (r *Rest[C]) Tick() {
	r.home.Lock()
	defer r.home.Unlock()
	switch {
	case r.left == 0:
		return
	case r.all:
		r.WakeAll()
	case !r.tryAgain():
	case r.home.GoesOn():
	case r.added:
		r.added, r.group = false, max(restLeast, len(r.conns)/max(1, int(restTime/r.every)))
	default:
		r.wakeSome(r.group)
	}
	time.AfterFunc(r.every, r.Tick)
}

// tryAgain reports false where no other one has a chance now.
func (r *Rest[C]) tryAgain() bool {
	places := slices.Sorted(maps.Keys(r.again))
	for _, place := range places {
		delete(r.again, place)
		if !r.wake(place) {
			return false
		}
	}
	return true
}

// wakeSome wakes as many, the oldest first. It reports false where it came to an end too soon.
func (r *Rest[C]) wakeSome(most int) bool {
	var none C
	for i := r.next; most > 0 && i < len(r.conns); i++ {
		if r.conns[i] != none {
			if !r.wake(i) {
				return false
			}
			most--
		} else if i == r.next {
			r.next++
		}
	}
	return true
}

// wake reports false where no other one has a chance now.
func (r *Rest[C]) wake(place int) bool {
	var none C
	if r.conns[place] == none {
		return true
	}
	switch r.home.Wake(r.conns[place]) {
	case Over:
		r.remove(place)
	case Later:
		r.again[place] = true
	case Scarce:
		r.again[place] = true
		return false
	}
	return true
}

func (r *Rest[C]) remove(place int) {
	var none C
	r.conns[place] = none
	if r.left--; r.left == 0 && r.poller != nil {
		r.poller.Close()
	}
}
