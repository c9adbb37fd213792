//go:build linux

package kinds

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// chatter is a user of examples/chat.
type chatter struct {
	net.Conn
	from *bufio.Reader
	name string
}

func enterChat(addr, name, room string) (*chatter, error) {
	conn, err := net.DialTimeout("tcp", addr, flow.Patience)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(4 * flow.Patience))
	c := &chatter{conn, bufio.NewReader(conn), name}
	if err := c.say(name+"\n", "/join "+room+"\n"); err != nil {
		return nil, err
	}
	for here := 0; here < 2; { // in the lobby, and in the room
		line, err := c.hear()
		if err != nil {
			return nil, err
		}
		if line == "* "+name+" is here" {
			here++
		}
	}
	return c, nil
}

// say types, with a pause between the parts.
func (c *chatter) say(parts ...string) error {
	for _, part := range parts {
		if _, err := io.WriteString(c, part); err != nil {
			return err
		}
		time.Sleep(rand.N(10 * time.Millisecond))
	}
	return nil
}

func (c *chatter) hear() (string, error) {
	line, err := c.from.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// chatRoom is users who all hear what each of them says.
type chatRoom struct {
	t     *testing.T
	users []*chatter
	sent  atomic.Int32 // lines times those who are to hear them
	lost  atomic.Int32 // missing, twice, or not in order
}

// talk has each user say numbered lines until enough is closed, and returns when everybody has heard everything.
func (r *chatRoom) talk(enough <-chan struct{}) {
	var users sync.WaitGroup
	for _, c := range r.users {
		users.Go(func() {
			n := 0
			for ; !isClosed(enough); n++ {
				if err := c.say("line", fmt.Sprintf(" %d", n), " and its end\n"); err != nil {
					r.t.Errorf("%s: %v", c.name, err)
					return
				}
			}
			r.sent.Add(int32(n * len(r.users)))
			_ = c.say("the end\n")
		})
		users.Go(func() { r.listen(c) })
	}
	users.Wait()
}

func (r *chatRoom) listen(c *chatter) {
	next := map[string]int{}
	for ends := 0; ends < len(r.users); {
		line, err := c.hear()
		if err != nil {
			r.t.Errorf("%s: %v", c.name, err)
			r.lost.Add(1)
			return
		}
		who, text, said := strings.Cut(line, ": ")
		switch {
		case text == "the end":
			ends++
		case said:
			var n int
			if _, err := fmt.Sscanf(text, "line %d and its end", &n); err != nil || n != next[who] {
				r.t.Errorf("%s hears %q, want line %d", c.name, line, next[who])
				r.lost.Add(1)
			}
			next[who] = n + 1
		case strings.HasSuffix(line, " has gone"):
			r.t.Errorf("%s hears %q", c.name, line)
		}
	}
}

// visit comes, says a line, hears it and goes, until enough is closed.
func visit(t *testing.T, addr string, enough <-chan struct{}) (visits int) {
	for ; !isClosed(enough); visits++ {
		name := fmt.Sprintf("visitor %d", visits)
		c, err := enterChat(addr, name, "hallway")
		if err == nil {
			err = c.say("hello\n")
		}
		var line string
		for err == nil && line != name+": hello" {
			line, err = c.hear()
		}
		if err == nil {
			err = c.say("/quit\n")
		}
		if err == nil {
			_, err = io.Copy(io.Discard, c.from)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return visits
		}
		_ = c.Close()
	}
	return visits
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestChat has users talk in two rooms, and others come and go, through ten swaps. At the stop they are told.
func TestChat(t *testing.T) {
	t.Parallel()
	b := newBed(t, "chat")
	rooms := []*chatRoom{{t: t}, {t: t}}
	for i := range 8 {
		r := rooms[i%2]
		c, err := enterChat(b.Addr, fmt.Sprintf("user %d", i), fmt.Sprintf("room %d", i%2))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r.users = append(r.users, c)
	}
	enough := make(chan struct{})
	var talks sync.WaitGroup
	for _, r := range rooms {
		talks.Go(func() { r.talk(enough) })
	}
	visits := 0
	talks.Go(func() { visits = visit(t, b.Addr, enough) })
	b.Swaps(10)
	close(enough)
	talks.Wait()
	b.Stop()
	sent, lost := 0, 0
	for _, r := range rooms {
		for _, c := range r.users {
			if text, err := io.ReadAll(c.from); string(text) != "* The chat closes. Come back soon!\n" || err != nil {
				t.Errorf("%s at the stop: %q, %v", c.name, text, err)
			}
		}
		sent, lost = sent+int(r.sent.Load()), lost+int(r.lost.Load())
	}
	flow.Kind{Name: "raw TCP", Client: "chat, lines in pieces, each heard by four", Sent: sent, Lost: lost,
		Resumed: -1}.Report(t)
	flow.Kind{Name: "raw TCP", Client: "chat, come for one line and go", Sent: visits,
		Resumed: -1, Closed: -1}.Report(t)
}
