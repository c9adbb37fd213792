package drain

import (
	"fmt"
	"log/slog"
	"os"
	"time"
)

// mailbox sends what is posted, in order, without making anybody wait for a manager that does not read.
type mailbox struct {
	letters chan letter // closed by close
	sent    chan struct{}
	log     *slog.Logger
	closed  bool // owned by the goroutine that posts
}

// letter is one datagram. The file, which goes along, is closed once it is sent.
type letter struct {
	text string
	file *os.File
}

func newMailbox(log *slog.Logger) *mailbox {
	b := &mailbox{letters: make(chan letter, 64), sent: make(chan struct{}), log: log}
	go b.deliver()
	return b
}

func (b *mailbox) deliver() {
	defer close(b.sent)
	failed := false
	for l := range b.letters {
		err := l.send()
		if err != nil && !failed { // once: the next status would fail in the same way
			b.log.Warn("can't tell the service manager", "err", err, "message", l.text)
		}
		failed = err != nil
	}
}

func (l letter) send() error {
	if l.file != nil {
		defer l.file.Close()
		return sendFile(notifySocket(), l.text, l.file)
	}
	return sdNotify(l.text)
}

func (b *mailbox) post(l letter) {
	if b.closed {
		_ = l.file.Close()
		return
	}
	select {
	case b.letters <- l:
	default:
		b.log.Warn("the service manager does not listen: a message is dropped", "message", l.text)
		_ = l.file.Close()
	}
}

// behind tells that the manager has much to read already. What comes again by itself can wait.
func (b *mailbox) behind() bool { return len(b.letters) > cap(b.letters)/8 }

// barrier returns a channel that is closed when the manager has read everything up to here:
// BARRIER=1 makes it close the descriptor that comes with it.
func (b *mailbox) barrier() (<-chan struct{}, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("drain: no barrier: %w", err)
	}
	understood := make(chan struct{})
	go func() {
		defer close(understood)
		defer r.Close()
		_ = r.SetReadDeadline(time.Now().Add(2 * barrierWait)) // nobody waits any more by then
		_, _ = r.Read(make([]byte, 1))
	}()
	b.post(letter{text: "BARRIER=1", file: w})
	return understood, nil
}
