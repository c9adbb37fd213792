package drain

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/drain/internal/controlsock"
)

const (
	// pidHeader says which process answers. The kernel would name to a client the process that called listen(2), which
	// is the first generation for ever.
	pidHeader = "Baton-Pid"
	// lastAnswers is how long Run waits for what is being answered on the control socket.
	lastAnswers = time.Second
	// controlHeader is how long a client may take to say what it wants.
	controlHeader = 5 * time.Second
)

// control answers commands on Config.ControlSocket while this generation is the main one. It is no part of the Set: its
// connections are neither counted nor drained nor handed over, so that a stop can be answered when all else is over.
type control struct {
	sock *controlsock.Socket
	srv  *http.Server
	shut chan struct{}  // closed when nothing is accepted any more
	busy sync.WaitGroup // the connections

	tenure atomic.Pointer[tenure]
}

// tenure is the time for which this generation answers: its ctx ends when another one is told to.
type tenure struct {
	ctx context.Context
	end context.CancelFunc
}

// begin makes this generation the one that answers, for the first time or again.
func (c *control) begin() {
	if c != nil {
		ctx, end := context.WithCancel(context.Background())
		c.tenure.Store(&tenure{ctx, end})
	}
}

// resign sends those who ask to the next generation.
func (c *control) resign() {
	if c != nil {
		c.tenure.Load().end()
	}
}

// openControl does what can fail before this generation becomes the main one.
func (s *Service) openControl() (err error) {
	if s.cfg.ControlSocket == "" {
		return nil
	}
	sock, err := s.os.openControl(s.cfg.ControlSocket, s.cfg.Logger)
	if err != nil {
		return err
	}
	c := &control{sock: sock}
	s.control = c
	c.begin()
	c.srv = &http.Server{
		Handler: s.commands(c), ReadHeaderTimeout: controlHeader, MaxHeaderBytes: 4 << 10,
		ConnState: c.count, ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
	}
	c.srv.SetKeepAlivesEnabled(false) // so that each request finds the generation that is the main one by then
	return nil
}

// serve begins to answer.
func (c *control) serve() {
	if c != nil {
		c.shut = make(chan struct{})
		go func() {
			defer close(c.shut)
			_ = c.srv.Serve(c.sock)
		}()
	}
}

// leave stops accepting, because another generation is the main one. What is being answered goes on.
func (c *control) leave() {
	if c != nil {
		_ = c.sock.Close()
		c.resign()
	}
}

// place returns the path of the socket, for the next generation to remove if it has no use for it, or "".
func (c *control) place() string {
	if c == nil || !c.sock.There() {
		return ""
	}
	return c.sock.Path
}

// end stops accepting for good, or gives up before it has begun; guest is a generation that never was the main one.
func (c *control) end(replaced, guest bool) {
	if c == nil {
		return
	}
	if replaced {
		_ = c.sock.Close()
	} else {
		c.sock.End(!guest)
	}
}

// finish waits until everybody has his answer.
func (c *control) finish() {
	if c == nil || c.shut == nil {
		return
	}
	<-c.shut
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.busy.Wait()
	}()
	select {
	case <-done:
	case <-time.After(lastAnswers):
	}
	_ = c.srv.Close() // Shutdown would drop what it reads from now on
}

// count is net/http's ConnState hook.
func (c *control) count(_ net.Conn, st http.ConnState) {
	switch st {
	case http.StateNew: // in Serve, and so before shut
		c.busy.Add(1)
	case http.StateClosed:
		c.busy.Done()
	}
}

// removeControl removes the socket of the generation before, if it is not the one of this.
func (s *Service) removeControl(path string) {
	if path == "" || path == s.cfg.ControlSocket {
		return
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(path)
	}
}

// commands is what can be asked on the control socket. A request is answered when what it asks for
// is done, or has failed, also if its client has ended its side of the connection.
func (s *Service) commands(c *control) http.Handler {
	mux := http.NewServeMux()
	for pattern, do := range map[string]func(main context.Context) error{
		"GET /status":   func(context.Context) error { return nil },
		"GET /metrics":  func(context.Context) error { return nil },
		"POST /swap":    func(context.Context) error { return s.Swap(context.Background()) },
		"POST /pull":    func(main context.Context) error { return s.Pull(main) },
		"POST /restore": func(main context.Context) error { return s.Restore(main) },
		"POST /stop":    func(main context.Context) error { return s.stop(main) }, // without waiting for the log
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(pidHeader, strconv.Itoa(s.os.pid))
			main := c.tenure.Load().ctx
			err := main.Err()
			if err == nil {
				err = do(main)
			}
			switch {
			case err == nil && pattern == "GET /metrics":
				w.Header().Set("Content-Type", metricsType)
				_ = s.Status().WriteMetrics(w)
			case err == nil:
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(s.Status())
			case main.Err() != nil: // what was asked for was not done here: the next one to accept can do it
				w.Header().Set("Retry-After", "0")
				http.Error(w, "drain: another generation has taken over; ask again", http.StatusServiceUnavailable)
			default:
				w.Header().Set(errorHeader, namesOf(err))
				code := http.StatusInternalServerError
				if errors.As(err, new(*RefusedError)) {
					code = http.StatusConflict
				}
				http.Error(w, err.Error(), code)
			}
		})
	}
	return mux
}
