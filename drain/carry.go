package drain

import (
	"context"
	"net"

	"github.com/baton-go/baton/drain/internal/forward"
	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/work"
	"github.com/baton-go/baton/listener"
)

// carry opens a connection to the next main generation, for requests that this one has read.
func (sw *swap) carry() (net.Conn, error) {
	near, far, err := link.Conn()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	if err := sw.link.Send(message{Kind: kindRequest}, far); err != nil {
		_ = near.Close()
		return nil, err
	}
	return near, nil
}

// drainingBy is Service.Draining, for the service that f belongs to. A session on a connection of an older generation
// leaves when that generation drains, or this one: whichever is first.
func drainingBy(ctx context.Context, f *work.Farewell) context.Context {
	here := f.Context(listener.Session(ctx), func() { listener.GoAway(ctx) })
	return forward.Draining(here, ErrDraining)
}
