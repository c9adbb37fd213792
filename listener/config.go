package listener

import (
	"net"
	"time"

	"github.com/cloudflare/tableflip"
)

// Config is what a [Set] can be told. The zero value works.
type Config struct {
	// Fds is what this process has inherited, and what it passes on. Default: neither.
	Fds Fds

	// MaxAge is the age at which connections of tracked and of followed servers end, so that clients that
	// never disconnect come to the other nodes behind a balancer, too. The first answer from then on says
	// that it is the last: "Connection: close" in HTTP/1, and over HTTP/2 the GOAWAY that Leave sends, whose
	// streams end in their time. Nothing is cut, and no timer runs: a connection at rest stays until its
	// next answer. An answer that has begun stays as it is, and so does one behind which the client has sent
	// more: then the next one says so. In TLS that is seen by a TLSListener alone, and not of each record.
	//
	// The age counts from Accept. Each connection has its own jitter of ±10 %, as ServerParameters.MaxConnectionAge of
	// google.golang.org/grpc/keepalive has: clients that have come at once do not come back at once. The age goes
	// on where both processes of a handover have one; otherwise it begins with the adoption. Hijacked connections,
	// requests for an upgrade, and HTTP/2 that OnWarning was called for are not ended. Default: for ever.
	MaxAge time.Duration

	// OnLoss is called once for each entry in the loss ledger, on the goroutine that closes the connection.
	OnLoss func(Loss)

	// OnStarved is called when this process can't accept a client that has connected, for want of
	// descriptors or of memory in the kernel. The client stays in the kernel's queue. Accept waits
	// until this process can accept it, or another one has. Listener is network and address, as given to
	// Listen. It is called at most once a minute, on the goroutine that accepts.
	OnStarved func(listener string, err error)

	// OnWarning is called when the set can't end the HTTP/2 connections of a server that was given to
	// Track without loss: they end as net/http ends them. It is also called for a unix socket whose file
	// is gone, see Listen. The error names the cure.
	OnWarning func(error)
}

// Fds is what a process has inherited, and what it passes on. tableflip's Upgrader.Fds is one.
type Fds interface {
	// These return the inherited socket of that name, which the caller closes; nil: none was inherited.
	Listener(network, address string) (net.Listener, error)
	PacketConn(network, address string) (net.PacketConn, error)

	// These pass a copy of the socket on, under that name, to the next process.
	AddListener(network, address string, ln tableflip.Listener) error
	AddPacketConn(network, address string, conn tableflip.PacketConn) error
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	if c.OnLoss == nil {
		c.OnLoss = func(Loss) {}
	}
	if c.OnStarved == nil {
		c.OnStarved = func(string, error) {}
	}
	if c.OnWarning == nil {
		c.OnWarning = func(error) {}
	}
	return c
}
