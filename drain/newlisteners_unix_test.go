//go:build unix

package drain_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What a new version listens on besides works when it has taken over, what it does not any more refuses, its
// unix sockets lose their files, and a later one may have it again. A version that fails leaves nothing behind.
func TestListenersOfANewVersion(t *testing.T) {
	dir := shortDir(t)
	stream, packet := filepath.Join(dir, "stream"), filepath.Join(dir, "packet")
	port := freePort(t)
	s := start(t, plan{})
	files := func(want bool) {
		t.Helper()
		for _, path := range []string{stream, packet} {
			if _, err := os.Stat(path); (err == nil) != want {
				t.Errorf("%s: %v; want it to be there: %v", path, err, want)
			}
		}
	}
	reach := func(want bool) {
		t.Helper()
		for _, at := range [][2]string{{"tcp", port}, {"unix", stream}} {
			nc, err := net.Dial(at[0], at[1])
			if want && err != nil {
				t.Errorf("%v: %v", at, err)
			} else if !want && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ENOENT) {
				t.Errorf("%v: %v; want it refused", at, err)
			}
			if err == nil {
				_ = nc.Close()
			}
		}
	}
	with := func() {
		s.plan.Also = [][2]string{{"tcp", port}, {"unix", stream}}
		s.plan.Datagrams = [][2]string{{"unixgram", packet}, {"udp", port}}
		s.replan()
	}
	without := func() {
		s.plan.Also, s.plan.Datagrams = nil, nil
		s.replan()
	}
	with()
	for range 2 {
		s.failSwap("check fails")
		s.wantAlone(s.pgid)
		files(false)
		reach(false)
	}
	s.nextHas("")
	for range 2 {
		with()
		gen := s.swap().Gen
		files(true)
		reach(true)
		for _, network := range []string{"udp", "unixgram"} {
			c := s.sender(network)
			c.send("new")
			c.want(gen, "new")
		}
		s.swap()
		reach(true)
		without()
		s.swap()
		s.wantAlone(s.main().PID)
		files(false)
		reach(false)
	}
	with()
	s.swap()
	s.stop()
	files(false)
}

// The file of a unix socket stays the same until the last stop. One that a killed process has left is in nobody's way.
func TestUnixSocketsKeepTheirPathsUntilTheLastStop(t *testing.T) {
	stream, packet := filepath.Join(shortDir(t), "s"), filepath.Join(shortDir(t), "d")
	p := plan{Network: "unix", Addr: stream, Datagrams: [][2]string{{"unixgram", packet}}}
	killed := start(t, p)
	killed.swap()
	killed.event(2, "older generation is gone") // or it takes everything back
	killed.kill(killed.main().PID)
	killed.gone()
	s := start(t, p)
	before := []os.FileInfo{have(os.Stat(stream))(t), have(os.Stat(packet))(t)}
	l := s.drive(4, time.Millisecond)
	s.swap()
	s.failSwap("check fails")
	s.swap()
	s.wantAlone(s.main().PID)
	for i, path := range []string{stream, packet} {
		if !os.SameFile(before[i], have(os.Stat(path))(t)) {
			t.Errorf("the file %s is another", path)
		}
	}
	s.get("/whoami")
	c := s.sender("unixgram")
	c.send("here")
	c.want(3, "here")
	l.end()
	s.stop()
	wantNoFile(t, stream)
	wantNoFile(t, packet)
}

// A connection on a listener that the new version has no more is served to its end by the old one.
func TestConnectionsOfADroppedListener(t *testing.T) {
	port := freePort(t)
	s := start(t, plan{Also: [][2]string{{"tcp", port}}, IdleGrace: 50 * time.Millisecond})
	nc := have(net.Dial("tcp", port))(t)
	defer nc.Close()
	path, open := s.gate("finish")
	if _, err := fmt.Fprintf(nc, "GET /slow?gate=%s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	s.noteSince(0, 0, "slow begun")
	s.plan.Also = nil
	s.replan()
	s.swap()
	open()
	buf := make([]byte, 4096)
	n, err := nc.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200") {
		t.Errorf("%q, %v", buf[:n], err)
	}
	s.wantAlone(s.main().PID)
	s.wantNothingLost()
	s.stop()
}

// A port that the system has chosen stays the same.
func TestChosenPortsStayTheSame(t *testing.T) {
	s := start(t, plan{UDP: true, Also: [][2]string{{"tcp4", "127.0.0.1:0"}}})
	for range 2 {
		s.swap()
	}
	addrs := make(map[string]int)
	for _, r := range s.since(0) {
		for _, what := range []string{"listening ", "also on ", "datagrams "} {
			if strings.HasPrefix(r.Note, what) {
				addrs[r.Note]++
			}
		}
	}
	if len(addrs) != 3 {
		t.Errorf("3 sockets, which have said where they are: %v", addrs)
	}
	for addr, n := range addrs {
		if n != 3 {
			t.Errorf("%s: by %d generations; want 3", addr, n)
		}
	}
	s.stop()
}

var portsTried atomic.Int32

// freePort is one that nobody has, for TCP and UDP. It is none of those among which the system chooses for
// who wants any, as tests do all the time: they would get it as soon as it is free.
func freePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		at := fmt.Sprintf("127.0.0.1:%d", 10_000+(64*os.Getpid()+int(portsTried.Add(1)))%20_000)
		ln, err := net.Listen("tcp", at)
		if err != nil {
			continue
		}
		pc, err := net.ListenPacket("udp", at)
		_ = ln.Close()
		if err == nil {
			_ = pc.Close()
			return at
		}
	}
	t.Fatal("no free port")
	return ""
}
