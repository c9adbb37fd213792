//go:build linux

package gray

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// another is the socket of a second HAProxy, which says what the first one says, but for a file in the site's folder:
// while there is "silent", it takes connections and says nothing; while there is "apart", it has a DOWN.
func (s *site) another() string {
	s.t.Helper()
	l, err := net.Listen("unix", filepath.Join(s.dir, "another"))
	if err != nil {
		s.t.Fatal(err)
	}
	over := make(chan struct{})
	s.t.Cleanup(func() { _ = l.Close(); close(over) })
	is := func(name string) bool {
		_, err := os.Stat(filepath.Join(s.dir, name))
		return err == nil
	}
	down := regexp.MustCompile(`(?m)^(app,a,.*),UP,`)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				asked, _ := io.ReadAll(conn)
				if is("silent") {
					<-over
					return
				}
				first, err := net.Dial("unix", s.socket())
				if err != nil {
					return
				}
				defer first.Close()
				_, _ = first.Write(asked)
				_ = first.(*net.UnixConn).CloseWrite()
				said, _ := io.ReadAll(first)
				if is("apart") {
					said = down.ReplaceAll(said, []byte("$1,DOWN,"))
				}
				_, _ = io.Copy(conn, bytes.NewReader(said))
			}()
		}
	}()
	return l.Addr().String()
}

// TestSeveral: no release is done, and none begins, while one of several HAProxys does not answer. What can be given
// back at the others is, and the message has the cure.
func TestSeveral(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""), "a", "b")
	another := s.another()
	silent := filepath.Join(s.dir, "silent")
	both := []string{"HAPROXY=" + s.socket() + " " + another, "HAPROXY_TIMEOUT=1", "BALANCER_TIMEOUT=10"}
	cure := "no HAProxy answers at " + another + ": start it, or set HAPROXY"
	upgrade := "upgrade " + flow.Build(t, "nethttp", "v2", "")
	says := func(code int, words, args string, env ...string) {
		t.Helper()
		if said := s.release(code, args, append(both, env...)...); !strings.Contains(said, words) {
			t.Errorf("release.sh %s: want %q", args, words)
		}
	}

	pid := s.nodes["a"].PID()
	flow.WriteFile(t, s.dir, "silent", "")
	says(6, cure, upgrade)
	_ = os.Remove(silent)
	says(6, "no HAProxy answers at /nonexistent: start it", upgrade, "HAPROXY="+s.socket()+" /nonexistent")

	// One has a, and the other has not: a has something to lose.
	apart := flow.WriteFile(t, s.dir, "apart", "")
	says(5, "a is not touched while b is not well", upgrade,
		"CHECK=dash "+flow.WriteFile(t, s.dir, "check.sh", "[ $NODE = a ]\n"))
	_ = os.Remove(apart)
	if s.nodes["a"].PID() != pid {
		t.Error("a was touched")
	}

	// It falls silent in the middle.
	says(4, cure, upgrade, "AT_NODE=dash "+flow.WriteFile(t, s.dir, "at.sh",
		"[ \"$1 $2\" != \"start a\" ] || : >"+silent+"\nexec dash ../node.sh \"$@\"\n"))
	flow.Eventually(t, "the first HAProxy has a", func() bool {
		status, weight := s.stat("a")
		return status == "UP" && weight == "100"
	})
	says(1, cure, "status")
	says(6, cure, "continue")
	_ = os.Remove(silent)
	says(0, "complete", "continue")
	s.want(nil, "v2", "v2")
}
