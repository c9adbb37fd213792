//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain/draintest"
)

// swap replaces the binary and waits until the new one is main and has answered a client.
func (s *side) swap(ctx context.Context, n int, e edition) error {
	old := s.current()
	if err := e.install(s.dir, s.svc.target); err != nil {
		return err
	}
	next := &life{version: e.version, asked: s.stats.now()}
	s.mark(next.asked, false, "HUP %d", n)
	if err := s.svc.signal(old.pid, syscall.SIGHUP); err != nil {
		return err
	}
	limit := factLimit + s.cfg.swapTimeout
	if err := until(ctx, limit, fmt.Sprintf("swap %d is promoted", n), func() (bool, error) {
		next.pid = s.svc.pid()
		return next.pid != old.pid && next.pid != 0, s.alive(old.pid)
	}); err != nil {
		return err
	}
	next.promoted = s.stats.now()
	next.proc = s.svc.watch(next.pid)
	s.mu.Lock()
	old.superseded = next.promoted
	next.generation = old.generation + 1
	s.lives = append(s.lives, next)
	s.mu.Unlock()
	if err := until(ctx, factLimit, fmt.Sprintf("the generation of swap %d answers a client", n), func() (bool, error) {
		return s.noteFirst(next), s.alive(next.pid)
	}); err != nil {
		return err
	}
	s.seeOff(next)
	if s.ours {
		// For a few milliseconds after the promotion a new connection may still come to the old one.
		what := fmt.Sprintf("version %s answers new connections", e.version)
		if err := until(ctx, factLimit, what, func() (bool, error) {
			who, err := s.whoami()
			return who.Version == e.version, err
		}); err != nil {
			return err
		}
	}
	s.say("%s: swap %d of %d: generation %d (pid %d, version %s) answers %v after the signal",
		s.title, n, s.cfg.swaps, next.generation, next.pid, e.version, ms(next.first-next.asked))
	// Ours may swap while older generations still finish their requests; tableflip refuses to.
	mayLive := 1
	if s.ours {
		mayLive = 3
	}
	if err := until(ctx, stopLimit, "the older generations are gone", func() (bool, error) {
		return s.svc.living() <= mayLive, s.alive(next.pid)
	}); err != nil {
		return err
	}
	return s.rest(ctx, s.cfg.every-(s.stats.now()-next.asked))
}

// settle waits until only the current generation lives.
func (s *side) settle(ctx context.Context) error {
	return until(ctx, stopLimit, "only the current generation lives", func() (bool, error) {
		return s.svc.living() == 1, s.alive(s.current().pid)
	})
}

// swapMeantToFail brings a broken binary, and waits until the service has said why it will not have it.
func (s *side) swapMeantToFail(ctx context.Context, what string, e, back edition) error {
	cur := s.current()
	if err := e.install(s.dir, s.svc.target); err != nil {
		return err
	}
	asked := time.Now()
	s.mark(s.stats.now(), false, "HUP: %s", what)
	if err := s.svc.signal(cur.pid, syscall.SIGHUP); err != nil {
		return err
	}
	var line string
	if err := until(ctx, factLimit+s.cfg.swapTimeout, "the log has \"swap failed\" for a binary that "+what,
		func() (failed bool, err error) {
			line, failed = s.svc.log.find(asked, "swap failed")
			return failed, s.alive(cur.pid)
		}); err != nil {
		return err
	}
	took := time.Since(asked)
	s.mark(s.stats.now(), true, "swap failed")
	reason, _ := attr(line, "err")
	if reason == "" {
		return fmt.Errorf("the swap to a binary that %s failed without a reason: %s", what, line)
	}
	if pid := s.svc.pid(); pid != cur.pid {
		return fmt.Errorf("after the swap to a binary that %s, the PID file has %d instead of %d", what, pid, cur.pid)
	}
	if who, err := s.whoami(); err != nil || who.PID != cur.pid {
		return fmt.Errorf("after the swap to a binary that %s, %+v answers instead of %d: %v", what, who, cur.pid,
			err) //nolint:errorlint // it may be nil
	}
	s.mu.Lock()
	s.refusals = append(s.refusals, failedSwap{what, reason, took})
	s.mu.Unlock()
	s.say("%s: a swap to a binary that %s: refused after %v, pid %d serves on: %s", s.title, what, ms(took),
		cur.pid, reason)
	return back.install(s.dir, s.svc.target)
}

// pull takes the node out of the balancer and puts it back.
func (s *side) pull(ctx context.Context) error {
	cur := s.current()
	asked := s.stats.now()
	s.mark(asked, false, "USR2 pull")
	if err := s.svc.signal(cur.pid, syscall.SIGUSR2); err != nil {
		return err
	}
	if err := until(ctx, factLimit, "the balancer takes the pulled node out", func() (bool, error) {
		return !s.bal.in.Load(), s.alive(cur.pid)
	}); err != nil {
		return err
	}
	s.say("%s: pulled (USR2): the balancer took the node out after %v; traffic goes elsewhere", s.title,
		ms(s.stats.now()-asked))
	if err := s.rest(ctx, time.Second/2); err != nil {
		return err
	}
	asked = s.stats.now()
	s.mark(asked, false, "USR1 restore")
	if err := s.svc.signal(cur.pid, syscall.SIGUSR1); err != nil {
		return err
	}
	if err := until(ctx, factLimit, "the balancer brings the restored node back", func() (bool, error) {
		return s.bal.in.Load(), s.alive(cur.pid)
	}); err != nil {
		return err
	}
	s.say("%s: restored (USR1): back in after %v", s.title, ms(s.stats.now()-asked))
	return s.rest(ctx, time.Second/2)
}

// terminate stops the service under load and waits for its end.
func (s *side) terminate(ctx context.Context) error {
	cur := s.current()
	s.stop = s.stats.now()
	s.mark(s.stop, false, "TERM")
	if err := s.svc.signal(cur.pid, syscall.SIGTERM); err != nil {
		return err
	}
	if err := until(ctx, stopLimit, "the process is gone after TERM", func() (bool, error) {
		return cur.proc.isGone(), nil
	}); err != nil {
		return err
	}
	s.say("%s: stopped (TERM): gone after %v with exit code %s", s.title, ms(s.stats.now()-s.stop), cur.proc.exit())
	select {
	case <-s.svc.log.ended:
		return nil
	case <-time.After(5 * time.Second):
		return errors.New("a process of the service was left behind")
	}
}

// whoami is what the service says of itself.
type whoami struct {
	PID     int
	Version string
}

func (s *side) whoami() (who whoami, err error) {
	c := draintest.Client{Addr: s.svc.addr, Timeout: factLimit, Dial: func() (net.Conn, error) {
		return s.cfg.secure.dial(net.Dialer{Timeout: factLimit}, s.svc.addr)
	}}
	defer c.Close()
	a, err := c.Do("GET", "/whoami", nil)
	if err != nil {
		return who, err
	}
	return who, json.Unmarshal(a.Body, &who)
}
