//go:build unix

package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

type word struct {
	Text string
	N    int
}

// pair returns two ends that are closed at the end of the test.
func pair(t testing.TB) (a, b *Link) {
	t.Helper()
	a, far, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	b, err = Open(far)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

func file(t testing.TB, text string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// raw writes bytes that Send would not, with descriptors.
func (l *Link) raw(t testing.TB, data []byte, fds ...int) {
	t.Helper()
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := l.conn.(socket).WriteMsgUnix(data, rights, nil); err != nil {
		t.Fatal(err)
	}
}

func frame(text string, count int) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	return append(binary.BigEndian.AppendUint32(head, uint32(count)), text...)
}

func TestMessagesArriveInOrderWithTheirFiles(t *testing.T) {
	a, b := pair(t)
	for n := range 4 {
		var files []syscall.Conn
		for i := range n {
			files = append(files, file(t, fmt.Sprint(n, i)))
		}
		if err := a.Send(word{"hello", n}, files...); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 4 {
		var w word
		files, err := b.Receive(&w)
		if err != nil || w != (word{"hello", n}) || len(files) != n {
			t.Fatalf("%+v, %d files, %v", w, len(files), err)
		}
		for i, f := range files {
			if text, err := io.ReadAll(f); err != nil || string(text) != fmt.Sprint(n, i) {
				t.Errorf("file %d of %d: %q, %v", i, n, text, err)
			}
			flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Error("a received descriptor is not close-on-exec")
			}
		}
		closeAll(files)
	}
}

func TestPairIsCloseOnExec(t *testing.T) {
	a, far, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer far.Close()
	for _, c := range []syscall.Conn{a, far} {
		rc, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = rc.Control(func(fd uintptr) {
			if flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("flags %x, %v", flags, err)
			}
		})
	}
}

func TestSendersDoNotMixTheirFrames(t *testing.T) {
	a, b := pair(t)
	long := strings.Repeat("x", 300_000) // more than the socket holds
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for n := range 4 {
				if err := a.Send(word{long[:n*100_000], n}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 8 * 4 {
		var w word
		if _, err := b.Receive(&w); err != nil || len(w.Text) != w.N*100_000 {
			t.Fatalf("%d: %d bytes, %v", w.N, len(w.Text), err)
		}
	}
	senders.Wait()
}

func TestSendRefusesWhatNobodyWouldTake(t *testing.T) {
	a, b := pair(t)
	f := file(t, "")
	many := make([]syscall.Conn, maxFiles+1)
	for i := range many {
		many[i] = f
	}
	if err := a.Send(word{}, many...); err == nil || !strings.Contains(err.Error(), "129 descriptors") {
		t.Errorf("too many descriptors: %v", err)
	}
	tooLong := word{Text: strings.Repeat("x", MaxText)}
	if err := a.Send(tooLong); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too much text: %v", err)
	}
	if err := a.Send(func() {}); err == nil {
		t.Error("a func is no JSON")
	}
	_ = f.Close()
	if err := a.Send(word{}, f); err == nil {
		t.Error("a closed file can't be sent")
	}
	// Nothing of it has left, and the link is whole.
	if err := a.Send(word{"whole", 1}, many[:0]...); err != nil {
		t.Fatal(err)
	}
	var w word
	if files, err := b.Receive(&w); err != nil || w.Text != "whole" || len(files) > 0 {
		t.Errorf("%+v, %v, %v", w, files, err)
	}
}

func TestAsManyDescriptorsAsAllowed(t *testing.T) {
	a, b := pair(t)
	files := make([]syscall.Conn, maxFiles)
	for i := range files {
		files[i] = file(t, "x")
	}
	if err := a.Send(word{}, files...); err != nil {
		t.Fatal(err)
	}
	var w word
	got, err := b.Receive(&w)
	closeAll(got)
	if err != nil || len(got) != maxFiles {
		t.Errorf("%d files, %v", len(got), err)
	}
}

func TestEndBetweenFramesIsEOF(t *testing.T) {
	a, b := pair(t)
	if err := a.Send(word{"last", 1}); err != nil {
		t.Fatal(err)
	}
	_ = a.Close()
	var w word
	if _, err := b.Receive(&w); err != nil || w.Text != "last" {
		t.Fatalf("%+v, %v", w, err)
	}
	if _, err := b.Receive(&w); !errors.Is(err, io.EOF) {
		t.Errorf("%v; want io.EOF", err)
	}
	if err := b.Send(w); err == nil {
		t.Error("Send to nobody succeeds")
	}
}

func TestFinishReadsWhatHasArrived(t *testing.T) {
	a, b := pair(t)
	if err := a.Send(word{"last", 1}); err != nil {
		t.Fatal(err)
	}
	b.Finish()
	var w word
	if _, err := b.Receive(&w); err != nil || w.Text != "last" {
		t.Fatalf("%+v, %v", w, err)
	}
	if _, err := b.Receive(&w); !errors.Is(err, io.EOF) {
		t.Errorf("%v; want io.EOF although the other end is open", err)
	}
}

func TestOpenOfWhatIsNoLink(t *testing.T) {
	before := openFDs(t)
	if _, err := Open(file(t, "text")); err == nil {
		t.Error("a file is no link")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f, err := nc.(*net.TCPConn).File()
	_ = nc.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(f); err == nil || !strings.Contains(err.Error(), "tcp") {
		t.Errorf("a TCP connection: %v", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	if _, err := Open(os.NewFile(uintptr(pair[0]), "datagrams")); err == nil {
		t.Error("a link of datagrams would never end")
	}
	_ = ln.Close()
	if after := openFDs(t); after > before+2 { // the poller of this process, made now, and pair[1]
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
