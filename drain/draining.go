package drain

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// Draining returns a context that ends when ctx does, or when this generation drains and it is time
// for the caller to come to an end. It is for WebSockets, event streams, gRPC streams, chats and
// other handlers that would go on for ever: a stop or swap waits for them, at most
// Config.DrainTimeout. ctx should be the request's, or end when the work does, so that nothing is
// kept of it.
//
// Each call draws its own moment, evenly from Config.IdleGrace after the beginning of draining, or
// from half of Config.DrainTimeout where that is less. So ten thousand clients are not told to come
// back all at once. If the moment is over, the context has ended already. When the generation is
// told to leave sooner (Config.MaxGenerations), all end within 2.5s. DrainStarted tells the
// beginning itself.
//
// The end of the context closes nothing: the handler says goodbye in the way of its protocol and returns.
func (s *Service) Draining(ctx context.Context) context.Context { return s.farewell.context(ctx) }

// DrainStarted returns a channel that is closed when this generation begins to drain: for what has
// to act at once, such as handing connections over with HandOver. It is closed at the end of the
// service, too.
func (s *Service) DrainStarted() <-chan struct{} { return s.work.draining.Done() }

// Context is Service.Draining for a request: of the service whose server, one that was given to Serve, has brought the
// request with this context. Any other context it returns as it is.
func Context(ctx context.Context) context.Context {
	if s, ok := ctx.Value(serviceKey{}).(*Service); ok {
		return s.Draining(ctx)
	}
	return ctx
}

type serviceKey struct{}

// sign makes the service known to the contexts of srv's requests: once a listener, so that no request pays for it.
func (s *Service) sign(srv *http.Server) {
	base := srv.BaseContext
	srv.BaseContext = func(ln net.Listener) context.Context {
		ctx := context.Background()
		if _, none := ln.(beforehand); base != nil && !none {
			ctx = base(ln)
		}
		return context.WithValue(ctx, serviceKey{}, s)
	}
}

// farewell tells those who wait for the end of a service, each in its turn.
type farewell struct {
	mu      sync.Mutex // guards what follows
	begun   time.Time
	until   time.Time // when the last is told
	waiting map[*turn]struct{}
}

// turn is one who waits for the end.
type turn struct {
	at    time.Time // when it is told; zero until the end has begun
	leave context.CancelCauseFunc
	timer *time.Timer
}

func (f *farewell) context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	t := &turn{leave: cancel}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.begun.IsZero() {
		t.at = f.draw()
		if !time.Now().Before(t.at) {
			cancel(ErrDraining)
			return ctx
		}
		t.set()
	}
	if f.waiting == nil {
		f.waiting = make(map[*turn]struct{})
	}
	f.waiting[t] = struct{}{}
	context.AfterFunc(ctx, func() { f.forget(t) })
	return ctx
}

func (f *farewell) draw() time.Time {
	return f.begun.Add(time.Duration(rand.Float64() * float64(f.until.Sub(f.begun))))
}

func (t *turn) set() {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer = time.AfterFunc(time.Until(t.at), func() { t.leave(ErrDraining) })
}

func (f *farewell) forget(t *turn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiting, t)
	if t.timer != nil {
		t.timer.Stop()
	}
}

// begin tells all who wait, and who will come, within that time from now. Called again, it hurries them.
func (f *farewell) begin(within time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	left := f.until.Sub(now)
	switch {
	case f.begun.IsZero():
		f.begun = now
	case left <= within:
		return
	}
	f.until = now.Add(within)
	for t := range f.waiting {
		if t.at.IsZero() {
			t.at = f.draw()
		} else {
			t.at = now.Add(time.Duration(float64(t.at.Sub(now)) * float64(within) / float64(left)))
		}
		t.set()
	}
}
