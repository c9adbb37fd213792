package drain

import (
	"net"

	"github.com/baton-go/baton/drain/internal/link"
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
