//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/baton-go/baton/examples/internal/flow"
)

// rawly is a client of HTTP/2 that does what RFC 9113 asks of it, and nothing
// else: once it has read a GOAWAY it begins no stream on that connection, and
// no stream is begun again, whatever has become of it. Several callers share a
// connection.
func rawly(c *crowd) {
	r := &rawClient{crowd: c}
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for {
				think()
				wire, err := r.connection()
				if err != nil {
					if !errors.Is(err, syscall.ECONNREFUSED) || !c.stopping() {
						c.count(err)
					}
					return
				}
				if err := wire.call("hello"); err != errElsewhere {
					c.count(err)
				}
			}
		})
	}
	callers.Wait()
}

// errElsewhere says that the stream has not been begun.
var errElsewhere = errors.New("the connection takes no more streams")

type rawClient struct {
	*crowd
	dials sync.Mutex // guards what follows
	wire  *wire
}

func (r *rawClient) connection() (*wire, error) {
	r.dials.Lock()
	defer r.dials.Unlock()
	if r.wire != nil && r.wire.takes() {
		return r.wire, nil
	}
	if r.wire != nil && !r.stopping() {
		r.crowd.mu.Lock()
		r.Closed++
		r.crowd.mu.Unlock()
	}
	nc, err := dialTCP(r.bed.Addr)
	if err != nil {
		return nil, err
	}
	w := &wire{conn: nc, framer: http2.NewFramer(nc, nc), waiting: map[uint32]chan error{}, next: 1}
	w.encoder = hpack.NewEncoder(&w.block)
	if _, err = nc.Write([]byte(http2.ClientPreface)); err == nil {
		err = w.framer.WriteSettings()
	}
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	go w.read()
	r.wire = w
	return w, nil
}

func dialTCP(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, flow.Patience) }

// wire is a connection.
type wire struct {
	conn     net.Conn
	framer   *http2.Framer // read by read alone
	stubborn bool          // does not close after a GOAWAY

	mu      sync.Mutex // guards what follows, and writing
	encoder *hpack.Encoder
	block   bytes.Buffer
	going   bool // a GOAWAY has been read, or the connection is gone
	waiting map[uint32]chan error
	next    uint32
}

func (w *wire) takes() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.going
}

// call begins a stream, if it may, and waits for its end.
func (w *wire) call(text string) error {
	body, err := proto.Marshal(wrapperspb.String(text))
	if err != nil {
		return err
	}
	message := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	done, err := w.begin(sayMethod, message)
	if err != nil {
		return err
	}
	return <-done
}

func (w *wire) begin(method string, message []byte) (chan error, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.going {
		return nil, errElsewhere
	}
	id, done := w.next, make(chan error, 1)
	w.next += 2
	w.waiting[id] = done
	w.block.Reset()
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "raw"},
		{"content-type", "application/grpc"}, {"te", "trailers"}} {
		_ = w.encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	err := w.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: w.block.Bytes(), EndHeaders: true,
	})
	if err == nil {
		err = w.framer.WriteData(id, true, message)
	}
	return done, err
}

// read handles what comes until the connection ends. What is answered is
// written before the next frame is read.
func (w *wire) read() {
	decoder := hpack.NewDecoder(4096, nil)
	for {
		frame, err := w.framer.ReadFrame()
		if err == nil {
			err = w.handle(frame, decoder)
		}
		if err != nil {
			w.end(err)
			return
		}
	}
}

func (w *wire) handle(frame http2.Frame, decoder *hpack.Decoder) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return w.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return w.framer.WritePing(true, f.Data)
		}
	case *http2.DataFrame:
		if n := uint32(len(f.Data())); n > 0 {
			return w.framer.WriteWindowUpdate(0, n)
		}
	case *http2.HeadersFrame:
		fields, err := decoder.DecodeFull(f.HeaderBlockFragment())
		if err != nil || !f.StreamEnded() {
			return err
		}
		verdict := errors.New("no grpc-status")
		for _, field := range fields {
			if field.Name == "grpc-status" {
				if verdict = nil; field.Value != "0" {
					verdict = fmt.Errorf("%v", fields)
				}
			}
		}
		w.answer(f.StreamID, verdict)
	case *http2.RSTStreamFrame:
		w.answer(f.StreamID, fmt.Errorf("reset: %v", f.ErrCode))
	case *http2.GoAwayFrame:
		w.going = true
		for id := range w.waiting {
			if id > f.LastStreamID {
				w.answer(id, fmt.Errorf("stream %d was begun before a GOAWAY that ends with %d was read",
					id, f.LastStreamID))
			}
		}
		w.closeIfOver()
	}
	return nil
}

// answer ends a stream. w.mu is held.
func (w *wire) answer(id uint32, err error) {
	if done := w.waiting[id]; done != nil {
		done <- err
		delete(w.waiting, id)
	}
	w.closeIfOver()
}

func (w *wire) closeIfOver() {
	if w.going && len(w.waiting) == 0 && !w.stubborn {
		_ = w.conn.Close()
	}
}

func (w *wire) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.going = true
	for id := range w.waiting {
		w.answer(id, fmt.Errorf("connection: %w", err))
	}
	_ = w.conn.Close()
}
