//go:build linux

package haproxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

// long is more than any test takes: a pull or a drain that only ends by its
// bound fails the test.
var long = []string{"-pull-max", "10m", "-drain-timeout", "10m"}

// TestTwoBalancers: the slower one decides.
func TestTwoBalancers(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "haproxy.cfg"), "1s", long...)
	host := flow.Host()
	slow := s.another(shipped(t, "haproxy.cfg"), host+":80", "3s")
	quickLoad, slowLoad := flow.NewLoad(t, s.Addr, 3, 2), flow.NewLoad(t, slow.Addr, 3, 2)
	known(t, s.a, host) // before, it is taken to be no slower than the other
	begun := time.Now()
	succeeds(t, begin(t, s.a, "stop"))
	took := time.Since(begun)
	outBeforeDraining(t, s.a, s.balancer, slow)
	s.a.Control("start")
	s.is("a", "UP")
	slow.is("a", "UP")
	quickLoad.Reaches(s.a.PID(), 10)
	slowLoad.Reaches(s.a.PID(), 10)
	quickLoad.Report("HAProxy", "stop of one of two nodes behind two, through the one with `inter 1s`", took)
	slowLoad.Report("HAProxy", "stop of one of two nodes behind two, through the one with `inter 3s`", took)
}

// TestBalancerDies: it is not waited for until PullMax.
func TestBalancerDies(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "haproxy.cfg"), "1s", long...)
	host := flow.Host()
	dies := s.another(shipped(t, "haproxy.cfg"), host+":80", "2s")
	load := flow.NewLoad(t, s.Addr, 4, 2)
	known(t, s.a, host)
	begun := time.Now()
	stop := begin(t, s.a, "stop")
	flow.Eventually(t, "it has had one failing answer", func() bool { return prober(s.a.Status(), host).Failures == 1 })
	dies.End() // kill -9
	for ended := false; !ended; {
		p := prober(s.a.Status(), host)
		if p.Failures > 1 {
			t.Fatalf("it was to die before its second failing answer: %+v", p)
		}
		select {
		case <-stop.Ended():
			ended = true
		case <-time.After(50 * time.Millisecond):
			ended = drains(s.a)
		}
	}
	succeeds(t, stop)
	took := time.Since(begun)
	outBeforeDraining(t, s.a, s.balancer)
	load.Flows(20)
	load.Report("HAProxy", "stop of a node, another HAProxy killed meanwhile", took)
}

// TestBalancerComesIn: it counts like the others.
func TestBalancerComesIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "haproxy.cfg"), "3s", long...)
	load := flow.NewLoad(t, s.Addr, 3, 2)
	begun := time.Now()
	stop := begin(t, s.a, "stop")
	flow.Eventually(t, "it is pulled", func() bool { return s.a.Status().Pulled })
	const inter = 3500 * time.Millisecond // HAProxy knows no "3.5s"
	config := strings.Replace(shipped(t, "haproxy.cfg"), "downinter 500ms", "", 1)
	comes := s.another(config, flow.Host()+":80", "3500ms")
	late := flow.NewLoad(t, comes.Addr, 3, 2)
	succeeds(t, stop)
	took := time.Since(begun)
	outBeforeDraining(t, s.a, s.balancer, comes)
	// Which was after its first failing answer, as always when HAProxy has just begun.
	first := comes.event("a", "DOWN")
	if after := draining(t, s.a).Sub(first); after < 2*inter-slack {
		t.Errorf("it stopped accepting %v after the new one's first failing answer: before the third", after)
	}
	late.Flows(20)
	load.Report("HAProxy", "stop of a node, through the one that was there", took)
	late.Report("HAProxy", "stop of a node, through one that came in meanwhile", took)
}

// TestKindsOfProbes: what HAProxy can ask, besides GET.
func TestKindsOfProbes(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct{ name, check string }{
		{"OPTIONS, HTTP/1.0, no Host", "option httpchk /ping"},
		{"HEAD, HTTP/1.1", "option httpchk HEAD /ping HTTP/1.1\n\thttp-check send hdr Host app hdr User-Agent HAProxy"},
		{"GET, HTTP/1.1, kept alive", "option httpchk\n" +
			"\thttp-check send meth GET uri /ping ver HTTP/1.1 hdr Host app hdr Connection keep-alive"},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			config := strings.Replace(shipped(t, "haproxy.cfg"), "option httpchk GET /ping", kind.check, 1)
			s := newSite(t, config, "1s", long...)
			host, _, _ := net.SplitHostPort(s.Addr)
			load := flow.NewLoad(t, s.Addr, 4, 2)
			known(t, s.a, host)
			if st := s.a.Status(); len(st.Probers) != 1 {
				t.Errorf("probers: %+v, want HAProxy alone", st.Probers)
			}
			begun := time.Now()
			succeeds(t, begin(t, s.a, "stop"))
			took := time.Since(begun)
			outBeforeDraining(t, s.a, s.balancer)
			s.a.Control("start")
			s.is("a", "UP")
			load.Reaches(s.a.PID(), 10)
			load.Report("HAProxy", "stop and start of a node, "+kind.name, took)
		})
	}
}

// TestKeptAliveProber is none of HAProxy's, which closes after each check: it
// asks on one connection, across a swap, and hears of a pull there.
func TestKeptAliveProber(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "haproxy.cfg"), "1s", long...)
	load := flow.NewLoad(t, s.Addr, 4, 2)
	from := &net.TCPAddr{IP: net.ParseIP(flow.Host())}
	var dials, answers, failures atomic.Int32
	c := &draintest.Client{Addr: "app", Dial: func() (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{LocalAddr: from}).Dial("tcp", s.a.Addr)
	}}
	over, ended := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(over); <-ended })
	go func() {
		defer close(ended)
		defer c.Close()
		for {
			a, err := c.Do("GET", "/ping", nil)
			switch {
			case err == nil:
				answers.Add(1)
			case a.Status == http.StatusNotImplemented && a.Close:
				failures.Add(1)
			}
			select {
			case <-over:
				return
			case <-time.After(400 * time.Millisecond):
			}
		}
	}()
	known(t, s.a, from.IP.String())
	begun := time.Now()
	s.a.Control("reload")
	if p := prober(s.a.Status(), from.IP.String()); p == nil || p.Interval == 0 {
		t.Errorf("after a swap: %+v, want its interval", p)
	}
	n := answers.Load()
	flow.Eventually(t, "it asks the new process", func() bool { return answers.Load() > n+2 })
	if dials.Load() != 1 {
		t.Errorf("%d connections before the pull, want 1", dials.Load())
	}
	succeeds(t, begin(t, s.a, "stop"))
	took := time.Since(begun)
	if failures.Load() < 3 {
		t.Errorf("the node is gone, and the prober has had %d failing answers, want 3", failures.Load())
	}
	outBeforeDraining(t, s.a, s.balancer)
	load.Report("HAProxy", "swap and stop of a node, asked on a kept-alive connection too", took)
}

// TestPortScan: who connects and says nothing is no prober, and holds up
// neither a pull nor a drain. HAProxy's own check of TCP is one such, a client
// that says nothing and stays is another.
func TestPortScan(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "haproxy.cfg"), "1s", long...)
	connects := strings.NewReplacer("option httpchk GET /ping", "", "http-check expect status 200", "")
	host := flow.Host()
	scan := s.another(connects.Replace(shipped(t, "haproxy.cfg")), host+":80", "100ms")
	flow.Eventually(t, "it has connected", func() bool { return scan.server("a")["check_status"] == "L4OK" })
	load := flow.NewLoad(t, s.Addr, 4, 2)
	silent := make([]net.Conn, 20)
	for i := range silent {
		c, err := net.Dial("tcp", s.a.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent[i] = c
	}
	flow.Eventually(t, "they are there", func() bool { return s.a.Status().Open.New >= len(silent) })
	if st := s.a.Status(); prober(st, host) != nil || prober(st, "127.0.0.1") != nil {
		t.Errorf("who never asked is a prober: %+v", st.Probers)
	}
	begun := time.Now()
	succeeds(t, begin(t, s.a, "stop"))
	took := time.Since(begun)
	outBeforeDraining(t, s.a, s.balancer)
	for _, c := range silent {
		_ = c.SetReadDeadline(time.Now().Add(flow.Patience))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a silent connection ended with %v, want EOF", err)
		}
	}
	load.Flows(20)
	load.Report("HAProxy", "stop of a node under a port scan", took)
}
