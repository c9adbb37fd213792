//go:build unix

package drain_test

import (
	"io"
	"math"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// whole begins a service that is ListenAndServe, or with TLS, and no more, at a port that was free.
func whole(t *testing.T, p plan) *service {
	t.Helper()
	p.Fault, p.Addr = "ListenAndServe", freePort(t)
	s := begin(t, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, record{Note: "listening " + p.Addr}) // which it can't say
	return s
}

// another waits until another process than that answers, and returns its pid.
func (s *service) another(than int) (pid int) {
	s.Helper()
	s.eventually("an answer of another process", func() bool {
		c, err := dial(s)
		if err != nil {
			return false
		}
		defer c.Close()
		a, err := c.ask("GET", "/whoami", "")
		pid = a.pid
		return err == nil && pid != than
	})
	return pid
}

// ListenAndServe is a whole service. What has sent half a request, a scanner or a TLS client at the wrong port, must
// not make its stop last until DrainTimeout, and fail.
func TestListenAndServeIsAWholeService(t *testing.T) {
	each(t, map[string]plan{"plain": {}, "TLS": tlsPlan(t, plan{})}, func(t *testing.T, p plan) {
		s := whole(t, p)
		if pid := s.another(0); pid != s.pgid {
			t.Errorf("pid %d answers", pid)
		}
		if a := s.get("/livez"); a.status != 200 {
			t.Errorf("%+v", a)
		}
		l := s.drive(4, time.Millisecond)
		s.signal(s.pgid, hup)
		pid := s.another(s.pgid)
		s.noteSince(0, s.pgid, "exit 0") // it has returned
		s.wantExit(s.pgid, 0)
		if p.Cert == "" {
			l.end()
		} else {
			l.endWith(math.MaxInt)
		}
		for _, said := range []string{"", "GET /", "\x16\x03\x01\x02\x00\x01", "\x17\x03\x03"} {
			nc := have(net.Dial("tcp", s.address()))(t)
			defer nc.Close()
			_ = have(io.WriteString(nc, said))(t)
		}
		s.get("/livez") // accepted after the others, which so are, too
		s.signal(pid, term)
		s.gone()
		s.noteSince(0, pid, "exit 0")
		if code := s.exit(pid); code != 0 && code != unknownExit {
			t.Errorf("exit code %d", code)
		}
	})
}

// The binary is found as the program was, whatever it has made its working folder since.
func TestBinaryIsFoundAgain(t *testing.T) {
	each(t, map[string]func(s *service, cmd *exec.Cmd){
		"by an absolute PATH": func(s *service, cmd *exec.Cmd) {
			cmd.Path, cmd.Args = s.binary, []string{"srv"}
			cmd.Env = append(cmd.Env, "PATH="+s.dir+":/usr/bin:/bin")
		},
		"by a relative PATH": func(s *service, cmd *exec.Cmd) {
			cmd.Dir, cmd.Path, cmd.Args = filepath.Dir(s.dir), s.binary, []string{"srv"}
			cmd.Env = append(cmd.Env, "PATH="+filepath.Base(s.dir)+":/usr/bin:/bin")
		},
		"by a relative path": func(s *service, cmd *exec.Cmd) {
			cmd.Dir, cmd.Path, cmd.Args = s.dir, "./srv", []string{"./srv"}
		},
	}, func(t *testing.T, how func(s *service, cmd *exec.Cmd)) {
		s := start(t, plan{ChangeDir: "/"}, how)
		s.swap()
		s.swap()
		s.stop()
	})
}

func TestSecondServiceIsRefused(t *testing.T) {
	s := start(t, plan{})
	s.wantIn(s.do("new"), "a process can have one Service")
	s.tell(s.pgid, restore) // the handlers are the first Service's still
	s.swap()
	s.stop()
}

// A socket that is opened when the service is ready would refuse clients from the next swap on.
func TestListenWhenReadyIsRefused(t *testing.T) {
	s := start(t, plan{Fault: "listens in Ready"})
	for range 2 {
		for _, network := range []string{"tcp", "unix", "udp", "unixgram"} {
			address := "127.0.0.1:0"
			if strings.HasPrefix(network, "unix") {
				address = filepath.Join(s.dir, network)
			}
			answer := s.do("listen", "network", network, "address", address)
			s.wantIn(answer, network, address, "before Run", "Config.Ready")
			wantNoFile(t, address)
		}
		s.swap()
	}
	mark := s.mark()
	must(t, syscall.Kill(s.main().PID, term))
	s.gone()
	addrs := make(map[string]int) // what was opened in Config.Ready is passed on like all else
	for _, r := range s.since(0)[:mark] {
		if strings.HasPrefix(r.Note, "in Ready on ") {
			addrs[r.Note]++
		}
	}
	if len(addrs) != 1 {
		t.Errorf("%v; want one address, in 3 generations", addrs)
	}
}
