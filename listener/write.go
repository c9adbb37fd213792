package listener

import (
	"net/http"

	"github.com/baton-go/baton/listener/internal/sniff"
)

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if !c.spoke.Load() {
		c.speak()
	}
	n, err := c.Conn.Write(p)
	if st := c.state.Load() - 1; n > 0 && (st == int32(http.StateIdle) || st == int32(http.StateNew)) && c.isAnswer(p) {
		c.answered.Store(true)
	}
	return n, err
}

// isAnswer tells whether p, which is written while the server waits for a request, says that what came instead is
// malformed. Other than that it writes the records of a handshake, short ones between two requests, and HTTP/2.
func (c *conn) isAnswer(p []byte) bool {
	switch {
	case !c.heard.Load() || !c.waits():
		return false
	case c.records.Load() == nil || sniff.Begins(p, "HTTP/1."):
		return true
	}
	return c.state.Load()-1 == int32(http.StateIdle) && p[0] == sniff.ApplicationData && len(p) > sniff.MaxAlert
}
