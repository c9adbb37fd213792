package drain

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/listener"
)

// mostLosses is how many losses are logged one by one. A client can make any number of some kinds; the counts go on.
const mostLosses = 100

// losses are those that were logged.
type losses struct {
	n   atomic.Int64
	log *slog.Logger
}

// lost logs an entry of the loss ledger, on the goroutine that closes the connection.
func (ls *losses) lost(l listener.Loss) {
	n := ls.n.Add(1)
	if n > mostLosses {
		return
	}
	what, level := "connection closed with a request unread", slog.LevelError
	switch l.Kind {
	case listener.LostCutOff:
		what = "cut off"
	case listener.LostPart:
		what, level = "connection closed in the middle of a request that its client did not finish", slog.LevelInfo
	case listener.LostJunk:
		what, level = "connection closed with bytes that are no request", slog.LevelInfo
	}
	about := []any{"listener", l.Listener, "remote", l.Remote, "unread", l.Unread}
	if l.Method != "" {
		about = append(about, "method", l.Method, "path", l.Path, "age", l.Age.Round(time.Millisecond))
	}
	if n == mostLosses {
		about = append(about, "further", "not logged, but counted in Status().Open")
	}
	ls.log.Log(context.Background(), level, what, about...)
}
