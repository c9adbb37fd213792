package sdnotify

import (
	"fmt"
	"log/slog"
	"os"
	"time"
)

// Queue sends datagrams to the service manager, in order. Its methods don't wait for a manager that does
// not read. One goroutine owns it.
type Queue struct {
	notices chan notice // closed by Close
	sent    chan struct{}
	log     *slog.Logger
	closed  bool
}

// notice is one datagram. The file, which goes along, is closed once it is sent.
type notice struct {
	text string
	file *os.File
}

// NewQueue returns an empty queue. Close ends its goroutine.
func NewQueue(log *slog.Logger) *Queue {
	q := &Queue{notices: make(chan notice, 64), sent: make(chan struct{}), log: log}
	go q.run()
	return q
}

// Close makes what was posted the last of it. Nothing is sent after that.
func (q *Queue) Close() {
	if !q.closed {
		q.closed = true
		close(q.notices)
	}
}

// Sent is closed when everything that was posted before Close is sent.
func (q *Queue) Sent() <-chan struct{} { return q.sent }

func (q *Queue) run() {
	defer close(q.sent)
	failed := false
	for n := range q.notices {
		err := n.send()
		if err != nil && !failed { // once: the next status would fail in the same way
			q.log.Warn("sd_notify failed", "err", err, "message", n.text)
		}
		failed = err != nil
	}
}

func (n notice) send() error {
	if n.file == nil {
		return send(Socket(), n.text)
	}
	defer n.file.Close()
	return send(Socket(), n.text, n.file)
}

// Post sends lines of text, or drops them with a warning when the manager does not read.
func (q *Queue) Post(text string) { q.post(notice{text: text}) }

func (q *Queue) post(n notice) {
	if q.closed {
		_ = n.file.Close()
		return
	}
	select {
	case q.notices <- n:
	default:
		q.log.Warn("the service manager does not listen: a message is dropped", "message", n.text)
		_ = n.file.Close()
	}
}

// Behind tells that the manager has much to read already. What comes again by itself can wait.
func (q *Queue) Behind() bool { return len(q.notices) > cap(q.notices)/8 }

// Barrier returns a channel that is closed when the manager has read everything up to here:
// BARRIER=1 makes it close the descriptor that comes with it.
func (q *Queue) Barrier() (<-chan struct{}, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("drain: no barrier: %w", err)
	}
	understood := make(chan struct{})
	go func() {
		defer close(understood)
		defer r.Close()
		_ = r.SetReadDeadline(time.Now().Add(2 * Wait)) // the caller has given up by then
		_, _ = r.Read(make([]byte, 1))
	}()
	q.post(notice{text: "BARRIER=1", file: w})
	return understood, nil
}
