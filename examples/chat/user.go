package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
)

// user is somebody who has connected.
type user struct {
	state
	conn net.Conn
	hall *hall
	busy sync.WaitGroup // listen and write
	wake chan struct{}  // has a value when there is something to write
	bye  chan struct{}  // closed when the connection is
}

// listen hears what the user types, until it goes or this generation leaves.
func (u *user) listen() {
	select {
	case <-u.hall.open:
	case <-u.hall.left:
		return
	}
	buf := make([]byte, 512)
	for {
		for {
			line, rest, whole := bytes.Cut(u.In, []byte("\n"))
			if !whole {
				break
			}
			switch err := u.hall.heard(u, strings.TrimSpace(string(line))); {
			case errors.Is(err, errLeaving): // it goes along
				return
			case errors.Is(err, errQuit):
				u.hall.exit(u)
				return
			}
			u.In = rest
		}
		n, err := u.conn.Read(buf)
		u.In = append(u.In, buf[:n]...)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // by leave
			return
		case err != nil, len(u.In) > maxLine:
			u.hall.exit(u)
			return
		}
	}
}

// write sends what the user is told, as far as it comes.
func (u *user) write() {
	for {
		select {
		case <-u.wake:
		case <-u.bye:
			return
		case <-u.hall.left:
			return
		}
		u.hall.mu.Lock()
		out := u.Out
		u.hall.mu.Unlock()
		n, err := u.conn.Write(out) // what is appended meanwhile comes behind it
		u.hall.mu.Lock()
		u.Out = u.Out[n:]
		u.hall.mu.Unlock()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			u.hall.exit(u)
			return
		}
	}
}

// tell is called with the hall's lock.
func (u *user) tell(line string) {
	u.Out = append(append(u.Out, line...), '\n')
	if len(u.Out) > maxOut { // nobody reads it
		_ = u.conn.Close() // which listen notices
		u.Out = nil
	}
	select {
	case u.wake <- struct{}{}:
	default:
	}
}
