//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// configuration is HAProxy's. What is not said is its default: retries 3, and with them no redispatch, which means that
// a connection that a node refuses is tried again on the same node, a second apart.
func configuration(cfg config, trials []*trial, peer, dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `global
	log %s len 4096 format timed local0 notice

defaults
	mode http
	log global
	timeout connect 5s
	timeout client 50s
	timeout server 50s
	option httpchk GET /ping
	http-reuse %s
`, filepath.Join(dir, "log"), cfg.reuse)
	if cfg.redispatch {
		b.WriteString("\toption redispatch\n")
	}
	for _, t := range trials {
		fmt.Fprintf(&b, `
listen %s
	bind %s
	default-server check inter %dms fall %d
	server node %s
	server peer %s
`, t.name(), t.site(), t.interval.Milliseconds(), t.fall, t.addr(), peer)
	}
	return b.String()
}

// balancer is a running HAProxy.
type balancer struct {
	cmd  *exec.Cmd
	log  *net.UnixConn
	gone chan struct{} // closed when the process has ended
	ends sync.WaitGroup

	mu      sync.Mutex // guards what follows
	down    map[string]time.Time
	changed chan struct{} // closed, and made anew, when a node is taken out
	said    string        // what HAProxy wrote besides its log
}

// startBalancer returns when HAProxy listens at all of the addresses.
func startBalancer(ctx context.Context, program, dir, text string, addrs []string, verbose bool) (*balancer, error) {
	path := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return nil, err
	}
	log, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "log"), Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	b := &balancer{log: log, gone: make(chan struct{}), down: map[string]time.Time{}, changed: make(chan struct{})}
	b.ends.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := log.Read(buf)
			if err != nil {
				return
			}
			if verbose {
				fmt.Println("haproxy", strings.TrimSpace(string(buf[:n])))
			}
			b.logged(string(buf[:n]))
		}
	})
	b.cmd = exec.Command(program, "-db", "-f", path)
	if err := begin(b.cmd, func(line string) {
		b.mu.Lock()
		b.said += line + "\n"
		b.mu.Unlock()
	}, b.gone); err != nil {
		_ = log.Close()
		b.ends.Wait()
		return nil, err
	}
	for _, addr := range addrs {
		if err := b.answers(ctx, addr); err != nil {
			b.end()
			return nil, err
		}
	}
	return b, nil
}

// answers waits until HAProxy listens on the address.
func (b *balancer) answers(ctx context.Context, addr string) error {
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-b.gone:
			return b.over()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// over says why HAProxy is gone.
func (b *balancer) over() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Errorf("HAProxy has ended: %v\n%s", b.cmd.ProcessState, b.said)
}

var downLine = regexp.MustCompile(`^<\d+>(\S+) (?:\S+: )?Server ([^/ ]+)/node is DOWN`)

// parseDown returns which backend's node HAProxy has taken out, and when, by its own clock.
func parseDown(line string) (backend string, at time.Time, ok bool) {
	m := downLine.FindStringSubmatch(line)
	if m == nil {
		return "", time.Time{}, false
	}
	at, err := time.Parse("2006-01-02T15:04:05.999999-07:00", m[1])
	return m[2], at, err == nil
}

func (b *balancer) logged(line string) {
	backend, at, ok := parseDown(line)
	if !ok {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.down[backend]; known {
		return
	}
	b.down[backend] = at
	close(b.changed)
	b.changed = make(chan struct{})
}

// takenOut waits until HAProxy has taken out the node of a backend, and returns when that was.
func (b *balancer) takenOut(ctx context.Context, backend string) (time.Time, error) {
	for {
		b.mu.Lock()
		at, ok := b.down[backend]
		changed := b.changed
		b.mu.Unlock()
		if ok {
			return at, nil
		}
		select {
		case <-changed:
		case <-b.gone:
			return time.Time{}, b.over()
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%w, waiting for HAProxy to take the node out", context.Cause(ctx))
		}
	}
}

func (b *balancer) end() {
	_ = b.cmd.Process.Kill()
	<-b.gone
	_ = b.log.Close()
	b.ends.Wait()
}
