//go:build linux

package kinds

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// talk is a client that sends numbered datagrams, some at once, and waits for
// the answer to each, which never comes twice.
type talk struct {
	flow.Kind
	dial    func() (net.Conn, error)
	atOnce  int
	until   <-chan struct{} // nil: until the service refuses
	refused func(error) bool

	pids sync.Map // of the processes that have answered
}

// heard tells whether that process has answered.
func (c *talk) heard(pid int) bool {
	_, ok := c.pids.Load(strconv.Itoa(pid))
	return ok
}

// run returns when a datagram is refused, or its time is over.
func (c *talk) run() error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		select {
		case <-c.until:
			return nil
		default:
			think(10 * time.Millisecond)
		}
		first, over := c.Sent, false
		for range c.atOnce {
			if _, err := fmt.Fprint(conn, c.Sent); err == nil {
				c.Sent++
			} else if over = c.until == nil && c.refused(err); over {
				break
			} else {
				return fmt.Errorf("send %d: %w", c.Sent, err)
			}
		}
		late, err := c.hear(conn, first)
		if err != nil && c.until == nil && c.atOnce == 1 && c.refused(err) {
			c.Sent-- // word of a refused datagram comes later, here
			return nil
		}
		c.Lost += late
		if err != nil {
			return err
		}
		if over {
			return nil
		}
	}
}

// hear wants one answer to each datagram from first on; late have none.
func (c *talk) hear(conn net.Conn, first int) (late int, err error) {
	want := make(map[int]bool)
	for n := first; n < c.Sent; n++ {
		want[n] = true
	}
	_ = conn.SetReadDeadline(time.Now().Add(flow.Patience))
	buf := make([]byte, 512)
	for len(want) > 0 {
		n, err := conn.Read(buf)
		if err != nil {
			return len(want), fmt.Errorf("%d datagrams from %d on, %d without an answer: %w", c.Sent-first, first,
				len(want), err)
		}
		pid, number, _ := bytes.Cut(buf[:n], []byte(" "))
		i, err := strconv.Atoi(string(number))
		if err != nil || !want[i] {
			return len(want), fmt.Errorf("another answer: %q, waiting for %v", buf[:n], want)
		}
		delete(want, i)
		c.pids.Store(string(pid), nil)
	}
	return 0, nil
}

// converse takes a service through ten swaps and the stop while they talk.
func converse(t *testing.T, b *bed, all []*talk) {
	t.Helper()
	var wg, early sync.WaitGroup
	for _, c := range all {
		wg := &wg
		if c.until != nil {
			wg = &early
		}
		wg.Go(func() {
			if err := c.run(); err != nil {
				t.Errorf("%s, %s, after swap %d: %v", c.Name, c.Client, b.swaps.Load(), err)
			}
		})
	}
	flowing := func() {
		t.Helper()
		for _, c := range all {
			flow.Eventually(t, c.Name+", "+c.Client+": an answer of the process in charge",
				func() bool { return c.heard(b.PID()) || t.Failed() })
		}
	}
	for range 10 {
		flowing()
		b.Swaps(1)
		b.swaps.Add(1)
	}
	flowing()
	close(b.stopping)
	early.Wait()
	b.Stop()
	wg.Wait()
	kinds := make(map[string]*flow.Kind)
	for _, c := range all {
		k := kinds[c.Name+c.Client]
		if k == nil {
			k = &flow.Kind{Name: c.Name, Client: c.Client, Closed: -1, Resumed: -1}
			kinds[c.Name+c.Client] = k
		}
		k.Sent += c.Sent
		k.Lost += c.Lost
	}
	for _, k := range kinds {
		k.Report(t)
	}
}

func TestUDP(t *testing.T) {
	t.Parallel()
	b := newBed(t, "udp")
	kind := func(client string) flow.Kind { return flow.Kind{Name: "UDP", Client: client} }
	dial := func() (net.Conn, error) { return net.Dial("udp", b.Addr) }
	refused := func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
	var all []*talk
	for range 4 {
		all = append(all, &talk{Kind: kind("one datagram at a time"), dial: dial, atOnce: 1, refused: refused})
	}
	for range 2 {
		// Of several that are refused the kernel may report one, so these end before.
		all = append(all, &talk{Kind: kind("16 datagrams at once, not in the stop"), dial: dial, atOnce: 16,
			until: b.stopping})
	}
	converse(t, b, all)
}

func TestUnixDatagram(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "dgram") // a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	b := newBed(t, "udp", "-unixgram", path)
	refused := func(err error) bool {
		return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED)
	}
	kind := func(client string) flow.Kind { return flow.Kind{Name: "unix datagram", Client: client} }
	var all []*talk
	add := func(client string, byPath bool, atOnce int, until <-chan struct{}) {
		own := &net.UnixAddr{Name: filepath.Join(dir, fmt.Sprint(len(all))), Net: "unixgram"}
		c := &talk{Kind: kind(client), atOnce: atOnce, until: until, refused: refused}
		c.dial = func() (net.Conn, error) {
			if !byPath {
				return net.DialUnix("unixgram", own, &net.UnixAddr{Name: path, Net: "unixgram"})
			}
			conn, err := net.ListenUnixgram("unixgram", own)
			return toPath{conn, path}, err
		}
		all = append(all, c)
	}
	for range 2 {
		add("by path, 4 datagrams at once", true, 4, nil)
		add("connected, one datagram at a time", false, 1, nil)
		// One that sends before it has read all answers loses these when the service is gone: Linux empties its queue
		// (unix_dgram_disconnected). So these end before.
		add("connected, 4 datagrams at once, not in the stop", false, 4, b.stopping)
	}
	converse(t, b, all)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the stop: %s is there (%v)", path, err)
	}
}

// toPath looks the path up for each datagram.
type toPath struct {
	*net.UnixConn
	path string
}

func (c toPath) Write(p []byte) (int, error) {
	return c.WriteToUnix(p, &net.UnixAddr{Name: c.path, Net: "unixgram"})
}
