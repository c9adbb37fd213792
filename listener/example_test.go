package listener_test

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/baton-go/baton/listener"
)

// A server that stops politely, without anything else of this module: what is in flight is finished, and a client whose
// connection idles has five seconds for a last request.
func Example() {
	set := listener.New(listener.Config{
		OnLoss: func(l listener.Loss) { log.Printf("lost %d bytes of %s", l.Unread, l.Remote) },
	})
	ln, err := set.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: http.DefaultServeMux}
	set.Track(srv)
	set.Open()
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, net.ErrClosed) {
			log.Fatal(err)
		}
	}()

	stop, _ := signal.NotifyContext(context.Background(), os.Interrupt)
	<-stop.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := set.Leave(ctx, nil, 5*time.Second); err != nil {
		log.Printf("cut off: %+v", set.Close())
	}
}
