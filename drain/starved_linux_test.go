package drain_test

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// queueUp connects n clients that send one request each, and returns what waits for the answers and tells how
// many came.
func (s *service) queueUp(n int) (answered func() int) {
	s.Helper()
	var clients []*client
	for i := range n {
		c := s.connect()
		_ = c.SetDeadline(time.Now().Add(2 * hung))
		if _, err := fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n%04d", i); err != nil {
			s.Fatal(err)
		}
		clients = append(clients, c)
	}
	return func() (n int) {
		for i, c := range clients {
			if a, err := c.receive(); err == nil && a.status == 200 && a.body == fmt.Sprintf("%04d", i) {
				n++
			}
			_ = c.Close()
		}
		return n
	}
}

func (s *service) starve(spare int) {
	s.Helper()
	c := s.connect()
	if a, err := c.ask("POST", fmt.Sprintf("/do?it=starve&spare=%d", spare), ""); err != nil || a.status != 200 {
		s.Fatal(a, err)
	}
	_ = c.Close()
}

// A generation that is out of descriptors leaves those who wait in the kernel's queue to the next one.
func TestClientsOfAStarvedGenerationAreServedByTheNext(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		for _, spare := range []int{0, 1, 2, 5} {
			t.Run(fmt.Sprintf("%s, %d spare", network, spare), func(t *testing.T) {
				p := plan{Network: network}
				if network == "unix" {
					p.Addr = socketPath(t)
				}
				s := start(t, p)
				open := s.beginSwap("in Ready")
				s.starve(spare)
				const n = 200
				answered := s.queueUp(n)
				s.awaitLog("raise its limit of open files", func() {})
				open()
				two := s.event(2, "promoted")
				if got := answered(); got != n {
					t.Errorf("%d of %d have their answer", got, n)
				}
				s.wantExit(s.pgid, 0)
				s.wantAlone(two.PID)
				s.stop()
				s.wantNothingLost()
			})
		}
	}
}

// In the last stop there is no next one: they are served as descriptors become free.
func TestClientsOfAStarvedServiceAreServedAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		for _, spare := range []int{1, 2, 5} {
			t.Run(fmt.Sprintf("%s, %d spare", network, spare), func(t *testing.T) {
				p := plan{Network: network}
				if network == "unix" {
					p.Addr = socketPath(t)
				}
				s := start(t, p)
				s.starve(spare)
				var idle []net.Conn // they have what is spare
				for range spare {
					idle = append(idle, s.connect())
				}
				const n = 100
				answered := s.queueUp(n)
				s.awaitLog("raise its limit of open files", func() {})
				s.signal(s.pgid, syscall.SIGTERM)
				s.event(1, "draining")
				for _, nc := range idle {
					_ = nc.Close()
				}
				if got := answered(); got != n {
					t.Errorf("%d of %d have their answer", got, n)
				}
				s.wantExit(s.pgid, 0)
				s.wantNothingLost()
			})
		}
	}
}
