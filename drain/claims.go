package drain

import (
	"errors"
	"sync"
	"time"

	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/listener"
)

// claims are the offers of an elder that it has neither confirmed (yours) nor withdrawn. Until it does, the connections
// are the elder's. The link is not handed on meanwhile: the elder's word is meant for this process.
type claims struct {
	mu      sync.Mutex           // guards what follows
	open    map[int]chan<- error // has room for the word
	passing *link.Link           // to be handed on as soon as none is open
	late    *time.Timer          // ends the wait for that
	over    bool                 // it has ended
}

// begin returns the channel for the elder's word on an offer: nil for yours, listener.ErrWithdrawn, or an error if the
// elder is gone. It returns a nil channel for an offer that is open already.
func (c *claims) begin(id int) <-chan error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = make(map[int]chan<- error)
	}
	if c.open[id] != nil {
		return nil
	}
	word := make(chan error, 1)
	c.open[id] = word
	return word
}

func (c *claims) settle(id int, word error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[id] == nil {
		return
	}
	c.open[id] <- word
	delete(c.open, id)
	if len(c.open) == 0 && c.passing != nil {
		c.passing.Pause()
	}
}

// outlast resumes a paused link while offers are undecided. It returns false if none is open, or if the wait has timed
// out: an elder that answers nothing for longer than its own offers last is halted.
func (c *claims) outlast(l *link.Link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) == 0 || c.over {
		return false
	}
	if c.passing == nil {
		c.passing = l
		c.late = time.AfterFunc(offerTime+time.Second, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.over = true
			l.Pause()
		})
	}
	l.Resume()
	return true
}

// end is called when no word can come any more. If the older process has exited, its open offers are ours. If it lives,
// they are withdrawn, since it may still serve them.
func (c *claims) end(lives bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late != nil {
		c.late.Stop()
	}
	for id, word := range c.open {
		if lives {
			word <- listener.ErrWithdrawn
		} else {
			word <- errors.New("drain: the old generation is gone")
		}
		delete(c.open, id)
	}
}
