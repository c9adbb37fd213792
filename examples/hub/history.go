package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// kept is how many messages a client may have missed and still get.
const kept = 20_000

// message has the number by which a client says what it has seen last.
type message struct {
	ID   int64           `json:"id"`
	Data json.RawMessage `json:"data"`
}

// history is what was published last, the oldest first. One generation at a time adds to it: it is a drain.Owner.
type history struct {
	file string // where a stop saves it; "": nowhere

	mu       sync.Mutex // guards what follows
	last     int64      // the number of the newest message
	messages []message
	grown    chan struct{} // closed when there is more, and replaced
}

func newHistory(file string) *history { return &history{file: file, grown: make(chan struct{})} }

// publish returns the number of the message. From then on each client that is there, or comes back, gets it once.
func (h *history) publish(data json.RawMessage) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	h.messages = append(h.messages, message{h.last, data})
	if len(h.messages) >= 2*kept { // a copy for each message would take longer
		h.messages = slices.Clone(h.messages[kept:])
	}
	close(h.grown)
	h.grown = make(chan struct{})
	return h.last
}

// after returns the messages behind that one, and a channel that is closed when there are more.
func (h *history) after(id int64) ([]message, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, there := slices.BinarySearchFunc(h.messages, id, func(m message, id int64) int { return cmp.Compare(m.ID, id) })
	if there {
		i++
	}
	return h.messages[i:len(h.messages):len(h.messages)], h.grown
}

// newest is the number of the newest message; 0 before the first.
func (h *history) newest() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// snapshot is a history on its way to the next generation, or in the file.
type snapshot struct {
	Last     int64     `json:"last"`
	Messages []message `json:"messages"`
}

// Acquire implements drain.Owner. With nil, what the last stop has saved is taken.
func (h *history) Acquire(_ context.Context, r io.Reader) error {
	if r == nil {
		f, err := os.Open(cmp.Or(h.file, os.DevNull))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	var s snapshot
	if err := json.NewDecoder(r).Decode(&s); err != nil && err != io.EOF {
		return fmt.Errorf("the history: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last, h.messages = s.Last, s.Messages
	return nil
}

// Release implements drain.Owner. With nil, it saves: no generation follows. Clients that are still here may read on.
func (h *history) Release(_ context.Context, w io.Writer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := snapshot{h.last, h.messages[max(0, len(h.messages)-kept):]}
	switch {
	case w != nil:
		return json.NewEncoder(w).Encode(s)
	case h.file == "":
		return nil
	}
	f, err := os.Create(h.file + ".new")
	if err != nil {
		return err
	}
	if err = errors.Join(json.NewEncoder(f).Encode(s), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(h.file+".new", h.file)
}
