package drain

import (
	"net"

	"github.com/baton-go/baton/drain/internal/forward"
	"github.com/baton-go/baton/drain/internal/link"
)

// carry opens a connection to the next main generation, for one request that this one has read.
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
