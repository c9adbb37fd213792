//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// unary calls one after the other.
func unary(c *crowd) {
	cc := c.dial()
	defer cc.Close()
	for i := 0; ; i++ {
		think()
		want, got := fmt.Sprint("call ", i), new(wrapperspb.StringValue)
		ctx, cancel := patience()
		err := cc.Invoke(ctx, sayMethod, wrapperspb.String(want), got)
		cancel()
		if c.over(err) {
			return
		}
		if err == nil && got.Value != want {
			err = fmt.Errorf("%q is answered %q", want, got.Value)
		}
		c.count(err)
	}
}

// together has calls of several goroutines on one connection.
func together(c *crowd) {
	cc := c.dial()
	defer cc.Close()
	done := make(chan struct{})
	const callers = 4
	for range callers {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				think()
				ctx, cancel := patience()
				err := cc.Invoke(ctx, sayMethod, wrapperspb.String("hello"), new(wrapperspb.StringValue))
				cancel()
				if c.over(err) {
					return
				}
				c.count(err)
			}
		}()
	}
	for range callers {
		<-done
	}
}

// counting follows Count from number to number, through all its streams.
func counting(c *crowd) {
	cc := c.dial()
	defer cc.Close()
	for next, more := uint64(0), true; more; {
		next, more = c.follow(cc, next)
	}
}

func (c *crowd) follow(cc *grpc.ClientConn, next uint64) (_ uint64, more bool) {
	ctx, cancel := context.WithCancel(context.Background()) // for as long as it is not told
	defer cancel()
	s, err := cc.NewStream(ctx, &echoDesc.Streams[0], countMethod)
	if err == nil {
		if err = s.SendMsg(wrapperspb.UInt64(next)); err == nil || errors.Is(err, io.EOF) {
			err = s.CloseSend()
		}
	}
	for err == nil {
		var n wrapperspb.UInt64Value
		if err = s.RecvMsg(&n); err == nil {
			if n.Value != next {
				c.count(fmt.Errorf("number %d instead of %d", n.Value, next))
			} else {
				c.count(nil)
			}
			next = n.Value + 1
		}
	}
	switch {
	case errors.Is(err, io.EOF): // told to come back
	case c.over(err):
		return next, false
	default:
		c.count(fmt.Errorf("stream that is to go on from %d: %w", next, err))
	}
	return next, true
}

// talking has conversations by Talk, one after the other.
func talking(c *crowd) {
	cc := c.dial()
	defer cc.Close()
	for said := 0; ; {
		if err := c.converse(cc, &said); c.over(err) {
			return
		} else if err != nil {
			c.count(err)
		}
	}
}

// converse returns nil when the service wants no more of this stream and has
// answered all that was said.
func (c *crowd) converse(cc *grpc.ClientConn, said *int) error {
	ctx, cancel := context.WithCancel(context.Background()) // for as long as it is not told
	defer cancel()
	raw, err := cc.NewStream(ctx, &echoDesc.Streams[1], talkMethod)
	if err != nil {
		return err
	}
	s := &grpc.GenericClientStream[wrapperspb.StringValue, wrapperspb.StringValue]{ClientStream: raw}
	var waiting []string
	for bye := false; !bye; {
		think()
		for range 1 + rand.N(4) {
			*said++
			waiting = append(waiting, fmt.Sprint("message ", *said))
			if err := s.Send(wrapperspb.String(waiting[len(waiting)-1])); errors.Is(err, io.EOF) {
				break // Recv knows why
			} else if err != nil {
				return err
			}
		}
		for len(waiting) > 0 {
			in, err := s.Recv()
			switch {
			case err != nil && c.over(err):
				return err
			case err != nil:
				return fmt.Errorf("%d messages unanswered: %w", len(waiting), err)
			case in.Value == "":
				bye = true
				continue
			case in.Value != waiting[0]:
				c.count(fmt.Errorf("%q is answered %q", waiting[0], in.Value))
			default:
				c.count(nil)
			}
			waiting = waiting[1:]
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if in, err := s.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the end: %v, %w", in, err)
	}
	return nil
}
