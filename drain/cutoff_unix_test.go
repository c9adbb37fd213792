//go:build unix

package drain_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/listener"
)

// cutOffs are the lines of the log of what was cut off.
func (s *service) cutOffs() (lines []string) {
	s.Helper()
	log := have(os.ReadFile(s.logFile()))(s)
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, `level=ERROR msg="cut off"`) && strings.Contains(line, "listener=") {
			lines = append(lines, line)
		}
	}
	return lines
}

// stuck are requests of several kinds whose handlers don't end, with the words that their entries have.
func (s *service) stuck(secure string) (words [][]string) {
	s.Helper()
	path, _ := s.gate("never")
	target := "/slow?secret=1&gate=" + url.QueryEscape(path)
	mark := s.mark()
	send := func(text string) {
		c := s.connect()
		if _, err := io.WriteString(c, text); err != nil {
			s.Fatal(err)
		}
	}
	send("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
	send("PUT " + target + " HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
	h2 := newHTTP2Client(s, secure, unchecked())
	for _, method := range []string{"GET", "DELETE"} {
		req := have(http.NewRequest(method, h2.url+target, nil))(s)
		go func() {
			if resp, err := h2.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}()
	}
	for begun := 0; begun < 4; {
		s.await(mark, "four requests", func(r record) bool { return r.Note == "slow begun" })
		begun = 0
		for _, r := range s.since(mark) {
			if r.Note == "slow begun" {
				begun++
			}
		}
	}
	send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo")
	c := s.lingering()
	s.Cleanup(func() { _ = c.Close() })
	begun{says: "G"}.begin(s)
	begun{says: "\x00\x01\x02\x03"}.begin(s)
	s.eventualStatus("all of them heard", func(st drain.Status) bool {
		n := st.Open // and the one that asks
		return n.Active == 6 && n.HTTP2 == 1 && n.Hijacked == 1
	})
	return [][]string{
		{"method=GET", "path=/slow "}, {"method=PUT", "path=/slow "}, {"method=GET", "path=/slow "},
		{"method=DELETE", "path=/slow "},
		{"method=POST", "path=/echo "}, {"method=GET", "path=/hijack "},
	}
}

// wantCutOffs wants an entry for each, with its age and without what may be secret, and that they are counted
// as what they are.
func (s *service) wantCutOffs(words [][]string, got listener.Counts) {
	s.Helper()
	lines := s.cutOffs()
	if len(lines) != len(words) {
		s.Errorf("%d lines; want %d", len(lines), len(words))
	}
	for _, w := range words {
		found := false
		for i, line := range lines {
			found = strings.Contains(line, w[0]) && strings.Contains(line, w[1]) &&
				strings.Contains(line, " age=")
			if found {
				lines = append(lines[:i:i], lines[i+1:]...)
				break
			}
		}
		if !found {
			s.Errorf("no line has %v", w)
		}
	}
	if strings.Contains(fmt.Sprint(lines), "secret") {
		s.Error("a query is in the log")
	}
	if got.CutOff != 6 || got.Lost != 5 || got.Part != 1 || got.Junk != 1 { // the hijacked one is no request any more
		s.Errorf("%+v", got)
	}
}

// What is cut off is in the log, one line for each request, and in the counts.
func TestCutOffIsAccountedFor(t *testing.T) {
	t.Parallel()
	cert, key := pair(t)
	begin := func(t *testing.T, timeout time.Duration) (*service, [][]string) {
		secure := freePort(t)
		s := start(t, plan{DrainTimeout: timeout, IdleGrace: 200 * time.Millisecond,
			Again: [][3]string{{secure, cert, key}}})
		return s, s.stuck(secure)
	}
	t.Run("DrainTimeout", func(t *testing.T) {
		s, words := begin(t, 3*time.Second)
		s.signal(s.pgid, syscall.SIGTERM)
		s.wantEnd(1, "DrainTimeout (3s) is over: cut off ")
		s.wantCutOffs(words, s.ledger())
	})
	t.Run("second TERM", func(t *testing.T) {
		s, words := begin(t, 2*hung)
		s.signal(s.pgid, syscall.SIGTERM)
		s.event(1, "draining")
		s.awaitLog("in the middle of a request", func() {})
		s.awaitLog("bytes that are no request", func() {})
		s.signal(s.pgid, syscall.SIGTERM)
		s.wantEnd(1, "asked twice: cut off ")
		s.wantCutOffs(words, s.ledger())
	})
	t.Run("swap", func(t *testing.T) {
		s, words := begin(t, 3*time.Second)
		second := s.swap()
		s.wantExit(s.pgid, 1)
		third := s.swap()
		s.wantExit(second.PID, 0)
		got := s.eventualStatus("no older ones", func(st drain.Status) bool { return len(st.Older) == 0 }).Total
		s.wantCutOffs(words, listener.Counts{Lost: got.Lost, CutOff: got.CutOff, Part: got.Part, Junk: got.Junk})
		s.stop()
		s.wantExit(third.PID, 0)
	})
}
