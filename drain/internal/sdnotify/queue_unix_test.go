//go:build unix

package sdnotify

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hung is how long nothing here takes.
const hung = time.Minute

func listen(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(hung))
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

func TestManagerHearsInOrderAndUnderstands(t *testing.T) {
	conn := listen(t)
	q := NewQueue(slog.New(slog.DiscardHandler))
	for i := range 20 {
		q.Post(fmt.Sprint("STATUS=", i))
	}
	understood, err := q.Barrier()
	if err != nil {
		t.Fatal(err)
	}
	q.Close()
	buf, oob := make([]byte, 100), make([]byte, 100)
	for i := range 21 {
		n, _, _, _, err := conn.ReadMsgUnix(buf, oob[:0]) // without room for the descriptor the kernel closes it
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint("STATUS=", i)
		if i == 20 {
			want = "BARRIER=1"
		}
		if string(buf[:n]) != want {
			t.Errorf("heard %q, want %q", buf[:n], want)
		}
	}
	<-q.Sent()
	select {
	case <-understood:
	case <-time.After(hung):
		t.Error("the manager has read all, and the barrier holds")
	}
}

func TestManagerThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	conn := listen(t)
	var log bytes.Buffer
	q := NewQueue(slog.New(slog.NewTextHandler(&log, nil)))
	for range 64 + 1000 { // the socket's queue has room for a few hundred
		q.Post("STATUS=x")
	}
	if !q.Behind() {
		t.Error("it isn't behind")
	}
	understood, err := q.Barrier()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-understood: // the descriptor of a message that is dropped is closed
	case <-time.After(hung):
		t.Error("a barrier that nobody hears of holds")
	}
	q.Close()
	q.Post("STATUS=late")
	_ = conn.Close() // so that it ends
	<-q.Sent()
	if !strings.Contains(log.String(), "a message is dropped") {
		t.Errorf("the log has %s", log.String())
	}
}
