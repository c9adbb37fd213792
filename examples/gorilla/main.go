// Command gorilla is a service with WebSockets of gorilla/websocket, in its
// usual pattern: the handler upgrades, starts a goroutine that reads and one
// that writes, and returns. A swap or a stop closes each session with a frame,
// StatusGoingAway, when it is its turn, and waits for its end.
//
//	go build -o app ./gorilla && ./app -pidfile app.pid
//
// GET /ws?name=Ann answers each message with the name and the number of the
// message in this session: "Ann 7: hello". For sessions that stay connected
// through a swap see examples/websocket. Signals, -s and the environment are as
// in examples/gin.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

var addr = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", enter)
	svc.Serve(ln, &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second})
	return svc.Run(context.Background())
}

var upgrader websocket.Upgrader

// enter returns at once. The context for leaving lives as long as the session: net/http's own ends here.
func enter(w http.ResponseWriter, r *http.Request) {
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it has answered
	}
	answers := make(chan []byte, 16)
	go read(ws, r.FormValue("name"), answers)
	go write(ws, answers, drain.Context(r.Context()))
}

func read(ws *websocket.Conn, name string, answers chan<- []byte) {
	defer close(answers)
	for n := 1; ; n++ {
		_, msg, err := ws.ReadMessage()
		if err != nil {
			return // the client has left, or its word for goodbye has come
		}
		answers <- fmt.Appendf(nil, "%s %d: %s", name, n, msg)
	}
}

// write ends the session, and with that what a stop waits for.
func write(ws *websocket.Conn, answers <-chan []byte, ctx context.Context) {
	defer ws.Close()
	const patience = 5 * time.Second // with the client's goodbye
	leave := ctx.Done()
	for {
		select {
		case msg, more := <-answers:
			if !more {
				return
			}
			_ = ws.WriteMessage(websocket.TextMessage, msg) // after an error, the reader gets one too
		case <-leave:
			leave = nil
			bye := websocket.FormatCloseMessage(websocket.CloseGoingAway, "")
			_ = ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(patience))
			_ = ws.SetReadDeadline(time.Now().Add(patience))
		}
	}
}
