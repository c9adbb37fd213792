package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/baton-go/baton/drain"
	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
)

// session is what must not be forgotten about a user. It goes along with the
// connection, so the next version of the program must understand it too.
type session struct {
	Name   string
	Count  int    // messages answered
	Unread []byte `json:",omitempty"` // what has come and was not looked at yet
}

// hall is where the sessions are.
type hall struct {
	svc      *drain.Service
	handOver bool
}

// enter begins a session.
func (h *hall) enter(c *gin.Context) {
	conn := new(conn)
	ws, err := websocket.Accept(&upgrade{c.Writer, conn}, c.Request, conn.options())
	if err != nil {
		return // it has answered
	}
	h.talk(c.Request.Context(), ws, conn, session{Name: c.Query("name")})
}

// adopt goes on with a session of the generation before. It is
// drain.Config.Adopt; an error gives the connection back.
func (h *hall) adopt(nc net.Conn, state []byte) error {
	var s session
	if err := json.Unmarshal(state, &s); err != nil {
		return err
	}
	conn := newConn(nc, s.Unread)
	ws, err := resume(conn)
	if err != nil {
		return err
	}
	s.Unread = nil
	go h.talk(context.Background(), ws, conn, s)
	return nil
}

// talk answers until the user goes, or the process is to.
func (h *hall) talk(ctx context.Context, ws *websocket.Conn, conn *conn, s session) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer ws.CloseNow()
	defer context.AfterFunc(h.svc.Draining(ctx), conn.pause)()
	for {
		kind, msg, err := ws.Read(ctx)
		if errors.Is(err, errPaused) {
			h.part(ws, conn, s)
			return
		}
		if err != nil {
			return
		}
		s.Count++
		if ws.Write(ctx, kind, fmt.Appendf(nil, "%s %d: %s", s.Name, s.Count, msg)) != nil {
			return
		}
	}
}

// part is between two messages, with everything answered. Nobody else writes
// to the connection; in a service where others do, they must have been stopped.
func (h *hall) part(ws *websocket.Conn, conn *conn, s session) {
	s.Unread = conn.unread()
	state, err := json.Marshal(s)
	if err == nil && h.handOver {
		if err = h.svc.HandOver(conn.Conn, state); err == nil {
			return // the user does not notice
		}
	}
	if err != nil {
		slog.Debug("session not handed over", "err", err)
	}
	conn.leaving.Store(true)
	conn.resume()
	// There is StatusServiceRestart too, which asks clients to stay away for some
	// seconds. These need not.
	_ = ws.Close(websocket.StatusGoingAway, "come back") // waits for the client's close frame
}
