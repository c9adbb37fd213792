package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/baton-go/baton/drain/internal/forward"
	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/work"
	"github.com/baton-go/baton/listener"
)

// adopter takes what older generations hand over, and passes on what else they say.
type adopter struct {
	inbox
	ctx     context.Context
	set     *listener.Set
	servers *servers
	work    *work.Group
	take    func(nc net.Conn, state []byte) error // Config.Adopt
	log     *slog.Logger
}

// What comes over the links to older generations.
type (
	elderSaid struct {
		elder   *elder
		message message
		files   []*os.File
	}
	elderGone struct{ elder *elder }
	mainAsked chan bool // whether this generation is, or was, the main one
)

// maxState is the most of an application's state that goes along with a connection, in bytes.
const maxState = 64 << 10

// hear serves an elder's link until the elder is gone or the link is handed on.
func (a *adopter) hear(e *elder) {
	var adopting sync.WaitGroup
	defer func() { // finish our answers before the link is passed on
		adopting.Wait()
		for _, l := range e.requests {
			a.run(l.Leave)
		}
		close(e.heard)
	}()
	for {
		var m message
		fds, err := e.link.ReceiveFDs(&m)
		if err == nil && m.Kind == kindOffer && !m.Own {
			if word := e.claims.begin(m.ID); word != nil {
				adopting.Go(func() { a.consider(e, m, fds, word) })
				continue
			}
		}
		files := link.Files(fds)
		if err != nil {
			closeAll(files)
			paused := errors.Is(err, link.ErrPaused)
			if paused && e.claims.outlast(e.link) {
				continue
			}
			// A live peer that sends garbage keeps the connections that it offered.
			broken := !paused && !e.link.Hung()
			e.claims.end(paused || broken)
			if broken { // the link of one that is gone may have to be handed on, for its last counts
				_ = e.link.Close()
			}
			if !paused {
				go a.post(elderGone{e})
			}
			return
		}
		switch m.Kind {
		case kindAdopt:
			adopting.Go(func() {
				a.adopt(m, files, func(reply message) error {
					reply.Kind, reply.ID = kindTook, m.ID
					return e.link.Send(reply)
				})
			})
			continue
		case kindOffer:
			if word := e.claims.begin(m.ID); word != nil {
				adopting.Go(func() { a.adopt(m, files, e.ack(m.ID, word)) })
				continue
			}
		case kindYours:
			closeAll(files)
			e.claims.settle(m.ID, nil)
			continue
		case kindWithdrawn:
			closeAll(files)
			e.claims.settle(m.ID, listener.ErrWithdrawn)
			continue
		case kindRequest:
			a.serve(e, files)
			continue
		case kindConns:
			_ = a.set.Adopt(m.Tickets, files, func(took []bool) error {
				return e.link.Send(message{Kind: kindTook, Took: took})
			})
			continue
		}
		if !a.post(elderSaid{e, m, files}) {
			closeAll(files)
		}
	}
}

// adopt answers an offer of HandOver by ack, which returns an error when the old generation is
// gone, or has withdrawn it.
func (a *adopter) adopt(m message, files []*os.File, ack func(message) error) {
	answer := func(err error) error {
		if err != nil {
			a.log.Warn("connection not adopted", "err", err)
			why, _, _ := strings.Cut(reason(err), "\n") // without the stack of a panic
			return ack(message{Took: []bool{false}, Reason: why})
		}
		return ack(message{Took: []bool{true}})
	}
	if why := a.unfit(m, files); why != nil {
		closeAll(files)
		_ = answer(why)
		return
	}
	t := m.Tickets[0]
	_ = a.set.AdoptOwn(t, files[0], func(nc net.Conn) error { return a.call(nc, t.State) }, answer)
}

// unfit tells why an offer can't even be considered.
func (a *adopter) unfit(m message, files []*os.File) error {
	switch {
	case !a.main():
		return errors.New("not the main generation")
	case a.take == nil:
		return errors.New("it has no Config.Adopt")
	case len(m.Tickets) != 1:
		return fmt.Errorf("want 1 ticket, got %d", len(m.Tickets))
	case len(files) == 0:
		return errors.New("no descriptor has arrived: it may be out of them")
	case len(files) > 1:
		return fmt.Errorf("want 1 descriptor, got %d", len(files))
	case len(m.Tickets[0].State) > maxState:
		return fmt.Errorf("the state has %d bytes, at most %d are allowed", len(m.Tickets[0].State), maxState)
	}
	return nil
}

func (a *adopter) main() (main bool) {
	asked := make(mainAsked, 1)
	if a.post(asked) {
		main = <-asked
	}
	return main
}

// call turns a panic, or runtime.Goexit, into a refusal: the connection has a process that can serve it.
func (a *adopter) call(nc net.Conn, state []byte) error {
	if err := outlive(context.Background(), func() error { return a.take(nc, state) }); err != nil {
		return fmt.Errorf("Config.Adopt: %w", err)
	}
	return nil
}

// consider answers an offer of connections, and takes what it can when the word has come.
func (a *adopter) consider(e *elder, m message, fds []int, word <-chan error) {
	if len(m.Batch) > 0 {
		var err error
		if m.Tickets, err = ticketsOf(m.Batch); err != nil {
			a.log.Warn("connection not adopted", "err", err)
		}
	}
	ack := e.ack(m.ID, word)
	_ = a.set.AdoptFDs(m.Tickets, fds, func(took []bool) error { return ack(message{Took: took}) })
	clear(m.Batch) // there may be secrets in it
}

// ack returns what sends the answer to an offer and waits for the word.
func (e *elder) ack(id int, word <-chan error) func(message) error {
	return func(reply message) error {
		select {
		case err := <-word: // the answer is too late
			return err
		default:
		}
		reply.Kind, reply.ID = kindTook, id
		e.send(reply)
		return <-word
	}
}

// serve serves the requests that an older generation has read, and sends over that connection.
func (a *adopter) serve(e *elder, files []*os.File) {
	failed := func(err error) { a.log.Error("a request from an older generation was lost on the way", "err", err) }
	nc, err := connOf(files)
	if err == nil && !a.main() {
		err = errors.Join(errors.New("this is not the main generation"), nc.Close())
	}
	if err != nil {
		failed(err)
		return
	}
	e.requests = append(e.requests, forward.Accept(a.ctx, nc, a.servers.target, a.run, failed))
}

// run does what is to end before this generation does.
func (a *adopter) run(f func()) {
	if !a.work.Add(work.Task{Name: "request of an older generation", Feeds: true, F: f}) {
		go f() // this one awaits older generations, and so the end of their requests
	}
}

func connOf(files []*os.File) (net.Conn, error) {
	defer closeAll(files)
	if len(files) != 1 {
		return nil, errors.New("no descriptor has come: the process may be out of them")
	}
	return net.FileConn(files[0])
}
