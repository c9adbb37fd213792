//go:build linux

package kinds

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestWebSocket(t *testing.T) {
	t.Parallel()
	b := newBed(t, "websocket")
	stays := &crowd{
		n:    4,
		Kind: webSocket("handed over: fragments and pings at random moments, several messages at once"),
		ask:  new(users).ask,
	}
	reads := &crowd{n: 4, Kind: flow.Kind{Name: "SSE", Client: "comes back with `Last-Event-ID`", Resumed: -1},
		ask: new(readers).ask}
	b.run(stays, reads)
	for _, c := range []*crowd{stays, reads} {
		if c.Closed > 0 {
			t.Errorf("%s, %s: %d connections closed by swaps, want 0", c.Name, c.Client, c.Closed)
		}
	}
}

func TestWebSocketThatIsNotHandedOver(t *testing.T) {
	for service, flags := range map[string][]string{"websocket": {"-hand-over=false"}, "gorilla": nil} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, service, append(flags, "-idle-grace", "100ms")...)
			c := &crowd{n: 4, ask: new(users).ask,
				Kind: webSocket(service + ": closed with a frame, reconnects: sends again what was not answered")}
			b.run(c)
			if c.Closed < 10 {
				t.Errorf("%d closed by ten swaps", c.Closed)
			}
		})
	}
}

func webSocket(client string) flow.Kind {
	return flow.Kind{Name: "WebSocket", Client: client, Resumed: -1}
}

// users are the WebSocket clients of a crowd.
type users struct{ sync.Map }

// user is a client with a session.
type user struct {
	*client
	name    string
	conn    *net.TCPConn // of the session
	goodbye bool         // it was closed with a frame
	sent    int          // messages, in the session
}

const (
	opContinuation = 0
	opText         = 1
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

var errGoodbye = errors.New("closed with a frame")

// ask sends some messages at once, in pieces, and wants each answered, once and
// in order. After a close frame it comes back and sends those anew that were
// not answered.
func (us *users) ask(c *client) error {
	u := of(&us.Map, c, func() *user {
		return &user{client: c, name: fmt.Sprintf("user%d", rand.IntN(1000)),
			goodbye: true}
	})
	think(20 * time.Millisecond)
	var texts []string
	for range 1 + rand.IntN(4) {
		texts = append(texts, strings.Repeat("message ", rand.IntN(40))+fmt.Sprint(rand.Int()))
	}
	for len(texts) > 0 {
		if gone, err := u.enter(); gone || err != nil {
			if gone { // what had no answer is sent to another node, and not counted
				c.crowd.count(-1, 0, nil)
				return nil
			}
			return err
		}
		answered, err := u.say(texts)
		c.crowd.count(answered, 0, nil)
		texts = texts[answered:]
		switch {
		case errors.Is(err, errGoodbye):
			u.goodbye = true
			c.crowd.count(0, 1, nil)
			c.close()
		case err != nil:
			u.goodbye = true // once is enough
			return err
		}
	}
	c.crowd.count(-1, 0, nil) // they are counted already
	return nil
}

// enter begins a session where there is none. Gone is that nobody listens.
func (u *user) enter() (gone bool, err error) {
	if u.client.conn != nil && u.conn == u.client.conn {
		return false, nil
	}
	if !u.goodbye {
		return false, errors.New("the service has closed the session without a frame")
	}
	if err := u.connect(); err != nil {
		select {
		case <-u.crowd.bed.stopping:
			return true, nil
		default:
			return false, err
		}
	}
	err = u.send([]byte("GET /ws?name=" + u.name +
		" HTTP/1.1\r\nHost: kinds\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	if err != nil {
		return false, fmt.Errorf("handshake: %w", err)
	}
	res, err := http.ReadResponse(u.from, nil)
	if err != nil {
		return false, fmt.Errorf("handshake: %w", err)
	}
	if accept := res.Header.Get("Sec-WebSocket-Accept"); res.StatusCode != http.StatusSwitchingProtocols ||
		accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		return false, fmt.Errorf("handshake: %s, %q", res.Status, accept)
	}
	u.conn, u.goodbye, u.sent = u.client.conn, false, 0
	return false, nil
}

// say sends the texts and returns how many were answered before the service
// said goodbye.
func (u *user) say(texts []string) (answered int, err error) {
	var all []byte
	var pings []string
	for _, text := range texts {
		opcode := byte(opText)
		for len(text) > 0 {
			n := 1 + rand.IntN(len(text))
			all = append(all, masked(opcode, n == len(text), text[:n])...)
			text, opcode = text[n:], opContinuation
			if rand.IntN(4) == 0 {
				pings = append(pings, fmt.Sprint("ping ", rand.Int()))
				all = append(all, masked(opPing, true, pings[len(pings)-1])...)
			}
		}
	}
	written := make(chan error, 1)
	go func() { written <- u.trickle(all) }()
	defer func() {
		if sendErr := <-written; err == nil {
			err = sendErr
		}
	}()
	for answered < len(texts) || len(pings) > 0 {
		opcode, payload, err := u.frame()
		switch {
		case err != nil:
			return answered, fmt.Errorf("%d of %d answered: %w", answered, len(texts), err)
		case opcode == opText && answered < len(texts):
			u.sent++
			if want := fmt.Sprintf("%s %d: %s", u.name, u.sent, texts[answered]); string(payload) != want {
				return answered, fmt.Errorf("answered %q; want %q", payload, want)
			}
			answered++
		case opcode == opPong && len(pings) > 0 && pings[0] == string(payload):
			pings = pings[1:]
		case opcode == opClose && len(payload) >= 2 && binary.BigEndian.Uint16(payload) == 1001:
			<-written
			written <- nil // what did not get through is sent again
			_, _ = u.client.conn.Write(masked(opClose, true, string(payload)))
			if rest, err := io.ReadAll(u.from); len(rest) > 0 || err != nil {
				return answered, fmt.Errorf("after the close frames: %q, %w", rest, err)
			}
			return answered, errGoodbye
		default:
			return answered, fmt.Errorf("a frame with opcode %d: %q", opcode, payload)
		}
	}
	return answered, nil
}

// trickle writes b in pieces that mind no frames.
func (u *user) trickle(b []byte) error {
	_ = u.client.conn.SetDeadline(time.Now().Add(2 * flow.Patience))
	for len(b) > 0 {
		n := 1 + rand.IntN(len(b))
		if _, err := u.client.conn.Write(b[:n]); err != nil {
			return err
		}
		if b = b[n:]; rand.IntN(2) == 0 {
			think(10 * time.Millisecond)
		}
	}
	return nil
}

// masked is a client's frame, RFC 6455, section 5.2.
func masked(opcode byte, fin bool, payload string) []byte {
	if fin {
		opcode |= 0x80
	}
	b := []byte{opcode, 0x80 | byte(len(payload))}
	if len(payload) > 125 {
		b = append(b[:1], 0x80|126, byte(len(payload)>>8), byte(len(payload)))
	}
	var key [4]byte
	binary.BigEndian.PutUint32(key[:], rand.Uint32())
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// frame reads a service's.
func (c *client) frame() (opcode byte, payload []byte, err error) {
	var h [4]byte
	if _, err := io.ReadFull(c.from, h[:2]); err != nil {
		return 0, nil, err
	}
	length := int(h[1])
	switch {
	case h[0]&0xf0 != 0x80 || length > 126:
		return 0, nil, fmt.Errorf("a frame that begins with %x", h[:2])
	case length == 126:
		if _, err := io.ReadFull(c.from, h[2:]); err != nil {
			return 0, nil, err
		}
		length = int(binary.BigEndian.Uint16(h[2:]))
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(c.from, payload)
	return h[0] & 0x0f, payload, err
}

// of returns what belongs to a client of a crowd.
func of[T any](m *sync.Map, c *client, begin func() *T) *T {
	if v, ok := m.Load(c); ok {
		return v.(*T)
	}
	v := begin()
	m.Store(c, v)
	return v
}

// readers are the clients of a crowd that read events.
type readers struct{ sync.Map }

type reader struct {
	*client
	last int64
	res  *http.Response
	line bytes.Buffer
}

// ask waits for the next event, which must be the one after the last, whatever
// connections and responses it takes.
func (rs *readers) ask(c *client) error {
	r := of(&rs.Map, c, func() *reader { return &reader{client: c} })
	for {
		if r.res == nil {
			gone, err := r.begin()
			if gone {
				c.crowd.count(-1, 0, nil)
				return nil
			}
			if err != nil {
				return err
			}
		}
		id, err := r.next()
		switch {
		case errors.Is(err, io.EOF) && r.line.Len() == 0: // whole events, and a whole body
			if r.res.Close {
				c.crowd.count(0, 1, nil)
				c.close()
			}
			r.res = nil
		case err != nil:
			return fmt.Errorf("after event %d: %w", r.last, err)
		case r.last != 0 && id != r.last+1:
			return fmt.Errorf("event %d after %d", id, r.last)
		default:
			r.last = id
			return nil
		}
	}
}

func (r *reader) begin() (gone bool, err error) {
	if err := r.connect(); err != nil {
		select {
		case <-r.crowd.bed.stopping:
			return true, nil
		default:
			return false, err
		}
	}
	head := "GET /events HTTP/1.1\r\nHost: kinds\r\n"
	if r.last != 0 {
		head += fmt.Sprintf("Last-Event-ID: %d\r\n", r.last)
	}
	if err := r.send([]byte(head + "\r\n")); err != nil {
		return false, err
	}
	if r.res, err = http.ReadResponse(r.from, nil); err != nil {
		return false, err
	}
	if r.res.StatusCode != http.StatusOK {
		return false, errors.New(r.res.Status)
	}
	return false, nil
}

// next returns the number of the next event.
func (r *reader) next() (id int64, err error) {
	_ = r.client.conn.SetDeadline(time.Now().Add(2 * flow.Patience))
	r.line.Reset()
	for {
		var b [1]byte
		if _, err := io.ReadFull(r.res.Body, b[:]); err != nil {
			return 0, err
		}
		r.line.Write(b[:])
		event, whole := bytes.CutSuffix(r.line.Bytes(), []byte("\n\n"))
		if !whole {
			continue
		}
		if bytes.HasPrefix(event, []byte("retry:")) {
			r.line.Reset()
			continue
		}
		var data int64
		if _, err := fmt.Sscanf(string(event), "id: %d\ndata: %d", &id, &data); err != nil || id != data {
			return 0, fmt.Errorf("%q", event)
		}
		r.line.Reset()
		return id, nil
	}
}
