//go:build unix

package drain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain"
)

// lineServer answers each line with its generation, how many generations the connection has seen before, and
// the line. While its generation drains it hands each connection over, with what has come of a line.
type lineServer struct {
	g *gen

	mu    sync.Mutex // guards what follows
	all   map[net.Conn]bool
	leave bool
}

type lineState struct {
	Half string
	Hops int
}

func newLineServer(g *gen) *lineServer { return &lineServer{g: g, all: make(map[net.Conn]bool)} }

func (g *gen) serveLines() error {
	s := g.line
	if s == nil || g.Fault == "no lines" {
		return nil
	}
	ln, err := s.g.svc.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.g.note("lines on %s", ln.Addr())
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.begin(nc, lineState{})
		}
	}()
	if err := s.g.svc.HandOver(nil, nil); err == nil || !strings.Contains(err.Error(), "no swap") {
		return fmt.Errorf("HandOver before a swap: %w", err)
	}
	return s.g.svc.Go("lines", func(context.Context) {
		<-s.g.svc.DrainStarted()
		s.g.fault("hand over late")
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leave = true
		s.g.note("lines leave")
		for nc := range s.all {
			_ = nc.SetReadDeadline(time.Unix(1, 0))
		}
	})
}

func (s *lineServer) adopt(nc net.Conn, state []byte) error {
	var st lineState
	if err := json.Unmarshal(state, &st); err != nil {
		return err
	}
	switch {
	case s.g.fault("adopt refuses"):
		return errors.New("what is this?")
	case s.g.fault("adopt panics"):
		panic("a bug of the new version")
	case s.g.fault("adopt crashes"):
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case s.g.fault("adopt is slow"):
	}
	st.Hops++
	s.begin(nc, st)
	return nil
}

func (s *lineServer) begin(nc net.Conn, st lineState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[nc] = true
	if s.leave {
		_ = nc.SetReadDeadline(time.Unix(1, 0))
	}
	go s.serve(nc, st)
}

func (s *lineServer) serve(nc net.Conn, st lineState) {
	defer nc.Close()
	defer func() { s.mu.Lock(); defer s.mu.Unlock(); delete(s.all, nc) }()
	text := []byte(st.Half)
	buf := make([]byte, 100)
	for {
		for line, rest, ok := bytes.Cut(text, []byte("\n")); ok; line, rest, ok = bytes.Cut(text, []byte("\n")) {
			if _, err := fmt.Fprintf(nc, "%d %d %s\n", s.g.n.Load(), st.Hops, line); err != nil {
				return
			}
			text = rest
		}
		n, err := nc.Read(buf)
		text = append(text, buf[:n]...)
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return
		default:
			st.Half = string(text)
			state, _ := json.Marshal(st)
			err = s.g.svc.HandOver(nc, make([]byte, 1+64<<10))
			if err == nil || !strings.Contains(err.Error(), "65537 bytes") {
				panic(err)
			}
			if err = s.g.svc.HandOver(nc, state); err == nil {
				return
			}
			refused := strings.Contains(err.Error(), "refuses: ") ||
				strings.Contains(err.Error(), "no generation follows")
			if errors.As(err, new(*drain.RefusedError)) != refused {
				panic(err)
			}
			s.g.note("kept: %v", err)
			if strings.Contains(err.Error(), "stops") {
				return
			}
			_ = nc.SetReadDeadline(time.Time{})
		}
	}
}
