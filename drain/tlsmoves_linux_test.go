package drain_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

// holding is what lies under a client over TLS, and can keep what that writes.
type holding struct {
	net.Conn
	hold bool
	held []byte
}

func (h *holding) Write(p []byte) (int, error) {
	if h.hold {
		h.held = append(h.held, p...)
		return len(p), nil
	}
	return h.Conn.Write(p)
}

// release sends n bytes of what is kept.
func (h *holding) release(n int) error {
	_, err := h.Conn.Write(h.held[:n])
	h.held = h.held[n:]
	return err
}

// Requests that are cut at every byte of their records, with a swap in the cut, are answered on the connection.
func TestRequestsOverTLSAreCutBySwaps(t *testing.T) {
	each(t, map[string]uint16{
		"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13,
	}, func(t *testing.T, version uint16) {
		type cut struct {
			*tls.Conn
			under *holding
			r     *bufio.Reader
		}
		const clients = 48
		s := start(t, tlsPlan(t, plan{IdleGrace: patient, DrainTimeout: 2 * hung}))
		config := trusting(version)
		all := make([]cut, clients)
		for i := range all {
			under := &holding{Conn: have(net.Dial(s.plan.Network, s.address()))(t)}
			tc := tls.Client(under, config)
			must(t, tc.Handshake())
			defer tc.Close()
			all[i] = cut{tc, under, bufio.NewReader(tc)}
		}
		for swap, whole := 0, 1; swap*clients < whole; swap++ {
			for i, c := range all {
				c.under.hold = true
				_, err := fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n%04d", i)
				c.under.hold, whole = false, len(c.under.held)
				must(t, err)
				must(t, c.under.release(min(swap*clients+i, whole)))
			}
			old := s.main().PID
			s.swap()
			for i, c := range all {
				must(t, c.under.release(len(c.under.held)))
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Fatalf("cut at %d: %v", swap*clients+i, err)
				}
				body, err := io.ReadAll(resp.Body)
				if resp.Close || err != nil || string(body) != fmt.Sprintf("%04d", i) {
					t.Errorf("cut at %d: %q, %v; the last is %v", swap*clients+i, body, err, resp.Close)
				}
			}
			s.wantExit(old, 0)
		}
		s.stop()
		s.wantNothingLost()
	})
}
