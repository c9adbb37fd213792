//go:build unix

package drain_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/baton-go/baton/drain"
)

// callback is what plan.Callback says: what OnEvent or the logger's handler does besides, when it is told message.
func (g *gen) callback(from, message string) {
	does, ok := strings.CutPrefix(g.Callback, from+" ")
	svc := g.known.Load()
	if !ok || svc == nil {
		return
	}
	first := svc.Status().Generation == 1
	switch {
	case does == "calls":
		g.callEverything(svc)
		g.note("called at %s", message)
	case message != "ready" && message != "promoted":
	case does == "blocks":
		g.note("blocks")
		select {}
	case does == "stops":
		g.note("stop returned: %v", svc.Stop(context.Background()))
	case does == "swaps" && first:
		g.note("swap returned: %v", svc.Swap(context.Background()))
	case does == "panics":
		panic("a bug in a callback")
	}
}

// callEverything calls the methods that change nothing, or nothing for long.
func (g *gen) callEverything(svc *drain.Service) {
	over, end := context.WithCancel(context.Background())
	end()
	st := svc.Status()
	svc.Health().Pulled()
	svc.Go("callback", func(context.Context) {})
	<-svc.Draining(over).Done()
	if ln, err := svc.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = ln.Close()
	}
	if pc, err := svc.ListenPacket("udp", "127.0.0.1:0"); err == nil {
		_ = pc.Close()
	}
	if st.Phase == drain.Starting || st.Phase == drain.Probation {
		return // g.ln may not be known yet
	}
	if nc, err := svc.Dial(g.ln); err == nil {
		_ = svc.HandOver(nc, nil)
		_ = nc.Close()
	}
	if st.Phase == drain.Draining || st.Phase == drain.Stopped {
		_, _, _ = svc.Pull(over), svc.Restore(over), svc.Swap(over)
		_, _ = svc.Stop(over), svc.Run(over)
		if ln, err := svc.Listen("tcp", "127.0.0.1:0"); err == nil {
			svc.Serve(ln, &http.Server{Handler: http.NotFoundHandler()})
		}
	}
}

func (l logger) callback(r slog.Record) { l.gen.callback("logger", r.Message) }
