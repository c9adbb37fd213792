// Package tlsmove lets a connection of TLS go on in another process that has its descriptor.
//
// First is crypto/tls's server of a connection, over a tap that counts the records in both directions and learns the
// secrets. At rest, its Export says all that the other process needs. Conn is the connection over there: the record
// layer of RFC 8446 and RFC 5246, which can be exported again.
//
// It moves TLS 1.2 and 1.3 with AES-GCM, without a client's certificate. It does not where FIPS 140 mode is on: the
// nonces of a moved connection come from outside of the module.
//
// A record must never be sealed under a number that another process uses too. So what is exported writes nothing, not
// even an alert, until Keep says that it has stayed.
package tlsmove

import (
	"context"
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"net"
)

// Able tells whether this process may move connections.
func Able() bool { return !fips140.Enabled() }

// Secured is a First or a Conn. Its Read and Write are those of a *tls.Conn.
type Secured interface {
	net.Conn
	ConnectionState() tls.ConnectionState
	HandshakeContext(ctx context.Context) error
	CloseWrite() error
	NetConn() net.Conn

	// Movable tells, after the handshake, whether Export can be expected to succeed at rest.
	Movable() bool
	// Partial tells whether a part of a record or of a message has come. The reader calls it, with nothing left to
	// read.
	Partial() bool
	// Export returns the State, as AppendBinary has it. It is called while no goroutine reads, or while the reader
	// waits in the Read of what is below. From then on nothing is written.
	Export() ([]byte, error)
	// Keep undoes Export.
	Keep()
}

// Errors of Export.
var (
	errForeign = errors.New("tlsmove: not a connection that can be moved")
	errPartial = errors.New("tlsmove: a part of a record has come")
	errUnsure  = errors.New("tlsmove: the client has sent more than data, such as a key update, or may have")
	errWriting = errors.New("tlsmove: something is being written")
	errOver    = errors.New("tlsmove: the connection is over")
)
