package listener

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// flood is a client of unencrypted HTTP/2 that sends without a pause and reads nothing, with a receive buffer
// as small as can be.
func flood(t testing.TB, g *generation, first, again []byte) {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1)
		})
	}}
	nc, err := d.Dial("tcp", g.ln.Addr().String())
	check(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	mustWrite(t, nc, string(first))
	var over sync.WaitGroup
	over.Go(func() {
		for err := error(nil); err == nil; _, err = nc.Write(again) {
		}
	})
	t.Cleanup(over.Wait)
	t.Cleanup(func() { _ = nc.Close() }) // runs first
}

// However many clients send however much and read nothing, a departure and a close by force end, as the flood does not.
func TestFloodsHoldNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("takes both processors for seconds")
	}
	begin := slices.Concat([]byte(h2frame.Preface), rawFrame(h2frame.TypeSettings, 0, 0, nil))
	request := rawFrame(h2frame.TypeHeaders, h2frame.FlagEndBlock|1, 1, postHead)
	for name, x := range map[string]struct{ first, again []byte }{
		"window updates": {slices.Concat(begin, request), slices.Repeat(rawFrame(8, 0, 0, []byte{0, 0, 0, 1}), 1000)},
		"forged acks": {slices.Concat(begin, request),
			slices.Repeat(rawFrame(h2frame.TypePing, h2frame.FlagAck, 0, h2frame.Ping(1)[h2frame.HeaderLen:]), 1000)},
		"unknown frames": {slices.Concat(begin, request), slices.Repeat(rawFrame(0x42, 0, 0, make([]byte, 1000)), 100)},
		"data":           {slices.Concat(begin, request), slices.Repeat(rawFrame(0, 0, 1, make([]byte, 1000)), 100)},
		"pings": {slices.Concat(begin, request),
			slices.Repeat(rawFrame(h2frame.TypePing, 0, 0, make([]byte, 8)), 1000)},
		"an ended one": {begin, slices.Repeat(rawFrame(8, 0, 0, []byte{0, 0, 0, 1}), 1000)},
	} {
		t.Run(name, func(t *testing.T) {
			srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0),
				Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, _ = w.Write(make([]byte, 60<<10)) // less than a stream's window
				})}
			one := serveHTTP2(t, "h2c", srv)
			const clients = 16
			for range clients {
				flood(t, one, x.first, x.again)
			}
			one.await(t, "not HTTP/2", func(n Counts) bool {
				return n.HTTP2 == clients || n.HTTP2 == 0 &&
					name != "an ended one"
			})
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := one.set.Leave(ctx, nil, 200*time.Millisecond)
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			left := time.Since(start)
			one.set.Close()
			_ = srv.Close()
			if took := time.Since(start); took > patience { // the flood has no end by itself
				t.Errorf("closed after %v, Leave was over after %v", took, left)
			}
			// Some were about to close by themselves.
			one.await(t, "open", func(n Counts) bool { return n.Open() == 0 })
			t.Logf("Leave %v, all %v", left, time.Since(start))
		})
	}
}
