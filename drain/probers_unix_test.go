//go:build unix

package drain_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/health"
)

func (s *service) probers() []health.Prober {
	s.Helper()
	return s.status().Probers
}

// A prober that keeps its connection goes with it to the next generation, and on from there when the failing answer
// closes it.
func TestProbesOnAKeptAliveConnection(t *testing.T) {
	s := start(t, plan{PullMax: hung})
	c := s.connect()
	probe := func(status int) answer {
		t.Helper()
		a, err := c.ask("OPTIONS", "/ping", "")
		if err != nil || a.status != status {
			t.Fatalf("%+v, %v; want %d", a, err, status)
		}
		return a
	}
	for range 3 {
		if a := probe(200); a.close {
			t.Errorf("%+v", a)
		}
	}
	gen := s.swap().Gen
	if a := probe(200); a.close {
		t.Errorf("after a swap: %+v", a)
	}
	s.exit(s.pgid) // or the prober might meet the old one again
	mark := s.mark()
	s.signal(s.main().PID, syscall.SIGUSR2)
	s.eventSince(mark, gen, "pulled")
	for n := 1; n <= 3; n++ {
		if p := s.probers(); len(p) != 1 || p[0].Failures != n-1 {
			t.Errorf("before failing answer %d: %+v", n, p)
		}
		if a := probe(501); !a.close {
			t.Errorf("a failing answer keeps the connection: %+v", a)
		}
		if _, err := c.r.ReadByte(); err != io.EOF { // by then the answer has been counted
			t.Errorf("after a failing answer: %v", err)
		}
		c = s.connect()
	}
	s.eventSince(mark, gen, "pull noticed")
	s.stop()
}

// A scan connects, and says nothing, or something that is no HTTP, or not all of it: what a server has begun to read is
// given up after its ReadHeaderTimeout.
func TestAPortScanHoldsNeitherAPullNorAStop(t *testing.T) {
	s := start(t, plan{PullMax: time.Hour, DrainTimeout: time.Hour, HeaderTimeout: time.Second})
	scan := func(say string) {
		t.Helper()
		nc := have(net.Dial(s.plan.Network, s.address()))(t)
		t.Cleanup(func() { _ = nc.Close() })
		if _, err := nc.Write([]byte(say)); err != nil {
			t.Fatal(err)
		}
	}
	says := []string{"", "\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "SSH-2.0-scan\r\n", "GE"}
	for _, say := range slices.Concat(says, says) {
		scan(say)
	}
	if p := s.probers(); len(p) != 0 {
		t.Errorf("%+v: want no probers", p)
	}
	s.signal(s.pgid, syscall.SIGUSR2)
	s.event(1, "nobody asks for PingPath")
	for _, say := range says {
		scan(say)
	}
	if st := s.status(); len(st.Probers) != 0 || !st.Noticed {
		t.Errorf("%+v", st)
	}
	s.stop()
	s.wantNone(0, "cut off")
}

// The paths, the status and the networks are those of the configuration, in each generation. A path that is none is the
// program's own, and so is a request that has no probe's method.
func TestProbesAreAnsweredAsConfigured(t *testing.T) {
	each(t, map[string]plan{
		"defaults":     {},
		"other":        {PingPath: "/up", LivePath: "/alive", PingStatus: 503},
		"no live path": {LivePath: "-"},
		"no ping path": {PingPath: "-"},
		"neither":      {PingPath: "-", LivePath: "-"},
	}, func(t *testing.T, p plan) {
		ping, live := or(p.PingPath, "/ping"), or(p.LivePath, "/livez")
		failing := 501
		if p.PingStatus != 0 {
			failing = p.PingStatus
		}
		p.Probers = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		s := start(t, p)
		want := func(pinged int) {
			t.Helper()
			for path, status := range map[string]int{ping: pinged, live: 200, "/ping": 404, "/livez": 404} {
				switch {
				case path == "-", status == 404 && (path == ping || path == live):
					continue
				}
				if a := s.get(path); a.status != status {
					t.Errorf("%s is answered %d, want %d", path, a.status, status)
				}
				for _, method := range []string{"OPTIONS", "POST", "PUT", "DELETE", "PROPFIND"} {
					want := 404 // the program's
					if method == "OPTIONS" {
						want = status
					}
					if a, err := s.connect().ask(method, path, ""); err != nil || a.status != want {
						t.Errorf("%s %s is answered %d, %v; want %d", method, path, a.status, err, want)
					}
				}
			}
		}
		want(200)
		s.swap()
		want(200)
		s.do("pull")
		want(failing)
		if st := s.status(); len(st.Probers) > 0 {
			t.Errorf("probers from elsewhere than Config.Probers count: %v", st.Probers)
		}
		s.do("restore")
		want(200)
		s.stop()
	})
}

// What the program says of its health is what /ping says, in each generation, and no more than that: all is served,
// pulls and stops are as they were, and a new generation that is not healthy does not take over.
func TestHealthyTakesPart(t *testing.T) {
	s := start(t, plan{Sick: filepath.Join(t.TempDir(), "sick")})
	want := func(status int, body string) {
		t.Helper()
		s.eventually(fmt.Sprint(status, " with ", body), func() bool {
			a := s.get("/ping")
			return a.status == status && strings.Contains(a.body, body)
		})
	}
	ill := func() { must(t, os.WriteFile(s.plan.Sick, []byte("no database"), 0o644)) }
	want(200, "success")
	ill()
	want(503, "not healthy: no database")
	s.wantIn(s.event(1, "not healthy").Err, "no database")
	if st := s.status(); st.Phase != drain.Ready || st.Unhealthy != "no database" || s.get("/livez").status != 200 {
		t.Errorf("%+v", st)
	}
	s.failedSwap("GET /ping answers 503", "not healthy: no database")
	s.do("pull")
	want(501, "pulled")
	s.do("restore")
	want(503, "no database")
	must(t, os.Remove(s.plan.Sick))
	want(200, "success")
	s.event(1, "healthy again")
	if gen := s.swap().Gen; gen < 2 {
		t.Errorf("generation %d", gen)
	}
	ill()
	want(503, "no database")
	s.stop()
}
