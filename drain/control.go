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
	"github.com/baton-go/baton/drain/internal/proc"
)

const (
	// pidHeader says which process answers. The kernel would name to a client the process that called listen(2), which
	// is the first generation for ever.
	pidHeader = "Baton-Pid"
	// namespaceHeader says where that number is the process's; see proc.Namespace.
	namespaceHeader = "Baton-Pid-Namespace"
	// lastAnswers is how long Run waits for what is being answered on the control socket.
	lastAnswers = time.Second
	// controlHeader is how long a client may take to say what it wants.
	controlHeader = 5 * time.Second
)

// control answers commands on Config.ControlSocket while this generation is the main one. It is no part of the Set: its
// connections are neither counted nor drained nor handed over, so that a stop can be answered when all else is over.
type control struct {
	path string // "": it is off
	log  *slog.Logger
	sock *controlsock.Socket // nil: it is not open yet
	srv  *http.Server
	shut chan struct{}  // closed when nothing is accepted any more; nil: nothing is yet
	busy sync.WaitGroup // the connections

	tenure atomic.Pointer[tenure]
}

// tenure is the time for which this generation answers: its ctx ends when another one is told to.
type tenure struct {
	ctx context.Context
	end context.CancelFunc
}

// commander does what is asked for; see Service, which is one.
type commander interface {
	Status() Status
	Swap(ctx context.Context) error
	Pull(ctx context.Context) error
	Restore(ctx context.Context) error
	stop(ctx context.Context) error
}

func newControl(path string, log *slog.Logger, do commander, pid int) *control {
	c := &control{path: path, log: log}
	c.srv = &http.Server{
		Handler: c.commands(do, pid), ReadHeaderTimeout: controlHeader, MaxHeaderBytes: 4 << 10,
		ConnState: c.count, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	c.srv.SetKeepAlivesEnabled(false) // so that each request finds the generation that is the main one by then
	return c
}

// part is the socket, on which one generation answers.
func (c *control) part(sys *system) part {
	if c.path == "" {
		return part{inherit: func(m message) { c.remove(m.Control) }}
	}
	return part{
		prepare: func() (err error) {
			c.sock, err = sys.openControl(c.path, c.log)
			return err
		},
		inherit: func(m message) { c.remove(m.Control) },
		acquire: func() {
			c.begin()
			c.shut = make(chan struct{})
			go func() {
				defer close(c.shut)
				_ = c.srv.Serve(c.sock)
			}()
		},
		release: func(m *message) {
			if c.sock.There() { // for the next generation to remove if it has no use for it
				m.Control = c.path
			}
			c.tenure.Load().end() // no two generations answer in turn
		},
		regain: c.begin,
		yield:  func() { _ = c.sock.Close() }, // what is being answered goes on
		end: func(how ending) {
			switch {
			case c.sock == nil:
			case how == replaced:
				_ = c.sock.Close()
			default:
				c.sock.End(how == last)
			}
		},
	}
}

// begin makes this generation the one that answers, for the first time or again.
func (c *control) begin() {
	ctx, end := context.WithCancel(context.Background())
	c.tenure.Store(&tenure{ctx, end})
}

// finish waits until everybody has his answer.
func (c *control) finish() {
	if c.shut == nil {
		return
	}
	<-c.shut
	within(lastAnswers, c.busy.Wait)
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

// remove removes the socket of the generation before, if it is not the one of this.
func (c *control) remove(path string) {
	if path == "" || path == c.path {
		return
	}
	soon(func() {
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
			_ = os.Remove(path)
		}
	})
}

// commands is what can be asked on the control socket. A request is answered when what it asks for
// is done, or has failed, also if its client has ended its side of the connection.
func (c *control) commands(s commander, pid int) http.Handler {
	mux, namespace := http.NewServeMux(), proc.Namespace()
	for pattern, do := range map[string]func(main context.Context) error{
		"GET /status":   func(context.Context) error { return nil },
		"GET /metrics":  func(context.Context) error { return nil },
		"POST /swap":    func(context.Context) error { return s.Swap(context.Background()) },
		"POST /pull":    func(main context.Context) error { return s.Pull(main) },
		"POST /restore": func(main context.Context) error { return s.Restore(main) },
		"POST /stop":    func(main context.Context) error { return s.stop(main) }, // without waiting for the log
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(pidHeader, strconv.Itoa(pid))
			w.Header().Set(namespaceHeader, namespace)
			main := c.tenure.Load().ctx
			err := main.Err()
			if err == nil {
				err = do(main)
			}
			switch {
			case err == nil && pattern == "GET /metrics":
				serveMetrics(w, s.Status())
			case err == nil:
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(s.Status())
			case main.Err() != nil && !errors.Is(err, ErrSwapFailed):
				// What was asked for was not done here: the next one to accept can do it. A swap that failed has been
				// tried, and this one is the main one again.
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
