package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"
)

const (
	lobby   = "lobby"
	maxName = 40       // bytes, of rooms too
	maxLine = 4 << 10  // bytes
	maxOut  = 32 << 10 // bytes that a user may be behind; all three, as JSON, are less than HandOver takes
)

// hall is everybody who is here.
//
// In a swap two generations have users for a moment. Whatever one of them said
// then, those of the other would miss. So the old one falls silent before the
// first user goes, and the new one listens to nobody before it is alone: what
// is typed meanwhile waits in the kernel.
type hall struct {
	handOver func(net.Conn, []byte) error
	open     chan struct{} // closed when this generation is alone
	left     chan struct{} // closed when it is to be silent

	mu    sync.Mutex // guards what follows, and Name, Room and Out of each user
	users map[*user]bool
}

// state is what there is to know about a user, for the next generation. A
// field may be added: a generation that doesn't know it leaves it out.
type state struct {
	Name string // empty: not known yet
	Room string
	In   []byte // read, not a whole line yet
	Out  []byte // to be written
}

// enter begins to serve a user, or passes it on if this generation is leaving.
func (h *hall) enter(u *user) {
	u.hall, u.wake, u.bye = h, make(chan struct{}, 1), make(chan struct{})
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.left:
		go h.pass(u)
		return
	default:
	}
	h.users[u] = true
	u.wake <- struct{}{}
	u.busy.Go(u.listen)
	u.busy.Go(u.write)
}

// adopt is Config.Adopt.
func (h *hall) adopt(nc net.Conn, text []byte) error {
	u := &user{conn: nc}
	if err := json.Unmarshal(text, &u.state); err != nil {
		return fmt.Errorf("what the old generation says of a user: %w", err)
	}
	h.enter(u)
	return nil
}

// leave lets each user go to the next generation, or go.
func (h *hall) leave() {
	h.mu.Lock()
	close(h.left)
	users := h.users
	h.users = nil
	for u := range users {
		_ = u.conn.SetDeadline(time.Unix(1, 0))
	}
	h.mu.Unlock()
	for u := range users {
		u.busy.Wait() // all have fallen silent before the first goes
	}
	var passing sync.WaitGroup
	for u := range users {
		select {
		case <-u.bye: // went by itself
		default:
			passing.Go(func() { h.pass(u) })
		}
	}
	passing.Wait()
}

// pass hands a user over, whom nobody serves any more.
func (h *hall) pass(u *user) {
	text, err := json.Marshal(u.state)
	if err == nil {
		err = h.handOver(u.conn, text)
	}
	if err == nil {
		return
	}
	slog.Info("user let go", "name", u.Name, "why", err)
	_ = u.conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = u.conn.Write(append(u.Out, "* The chat closes. Come back soon!\n"...))
	_ = u.conn.Close()
}

var (
	errLeaving = errors.New("this generation is leaving: nothing was done")
	errQuit    = errors.New("the user is leaving")
)

// heard does what a line says that u has typed.
func (h *hall) heard(u *user, line string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users == nil {
		return errLeaving
	}
	word, room, _ := strings.Cut(line, " ")
	switch {
	case line == "":
	case u.Name == "" && len(line) > maxName, word == "/join" && len(room) > maxName:
		u.tell("* That is too long.")
	case u.Name == "":
		u.Name, u.Room = line, lobby
		h.tell(u.Room, "* "+u.Name+" is here")
	case word == "/quit":
		return errQuit
	case word == "/join" && room != "":
		h.tell(u.Room, "* "+u.Name+" goes to "+room)
		u.Room = room
		h.tell(u.Room, "* "+u.Name+" is here")
	case strings.HasPrefix(line, "/"):
		u.tell("* There are /join room and /quit.")
	default:
		h.tell(u.Room, u.Name+": "+line)
	}
	return nil
}

func (h *hall) tell(room, line string) {
	for u := range h.users {
		if u.Room == room {
			u.tell(line)
		}
	}
}

// exit is told of each user who goes by itself.
func (h *hall) exit(u *user) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-u.bye:
		return
	default:
	}
	close(u.bye)
	_ = u.conn.Close()
	if h.users[u] {
		delete(h.users, u)
		h.tell(u.Room, "* "+u.Name+" has gone")
	}
}
