package drain

import (
	"errors"
	"net"
	"os"

	"github.com/baton-go/baton/drain/internal/forward"
	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/work"
)

// carry opens a connection to the next main generation, for one request.
func (sw *swap) carry(about forward.About) (net.Conn, error) {
	near, far, err := link.Conn()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	if err := sw.link.Send(message{Kind: kindRequest, About: &about}, far); err != nil {
		_ = near.Close()
		return nil, err
	}
	return near, nil
}

// serve serves a request that an older generation has read.
func (a *adopter) serve(m message, files []*os.File) {
	nc, err := connOf(files)
	if err == nil && m.About == nil {
		err = errors.Join(errors.New("nothing is said about it"), nc.Close())
	}
	if err != nil {
		a.log.Error("a request of an older generation has not arrived", "err", err)
		return
	}
	handler, base := a.servers.target(m.About.Listener, nc)
	over := a.work.Add(work.Task{Name: "request of an older generation", F: func() {
		forward.Serve(a.ctx, nc, *m.About, handler, base)
	}})
	if !over {
		_ = nc.Close()
	}
}

func connOf(files []*os.File) (net.Conn, error) {
	defer closeAll(files)
	if len(files) != 1 {
		return nil, errors.New("no descriptor has come: the process may be out of them")
	}
	return net.FileConn(files[0])
}
