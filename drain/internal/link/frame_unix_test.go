//go:build unix

package link

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"
)

func TestReceiveOfWhatIsNoFrame(t *testing.T) {
	f := file(t, "")
	fd := int(f.Fd())
	for name, c := range map[string]struct {
		data []byte
		fds  []int
	}{
		"garbage":                      {[]byte("GET / HTTP/1.1\r\n\r\n"), nil},
		"oversized":                    {frame("", 0)[:0:0], nil},
		"no JSON":                      {frame("nonsense", 0), nil},
		"JSON of another kind":         {frame(`["a"]`, 0), nil},
		"no text":                      {frame("", 0), nil},
		"too many descriptors said":    {frame("{}", maxFiles+1), nil},
		"more descriptors than said":   {frame("{}", 1), []int{fd, fd, fd}},
		"descriptors where none ought": {frame("{}", 0), []int{fd}},
		"end in the head":              {frame("{}", 0)[:5], []int{fd}},
		"end after the head":           {frame("{}", 1)[:8], []int{fd}},
		"end in the text":              {frame("{}", 1)[:9], []int{fd}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "oversized" {
				c.data = binary.BigEndian.AppendUint32(nil, MaxText+1)
				c.data = append(c.data, 0, 0, 0, 0)
			}
			a, b := pair(t)
			before := openFDs(t)
			a.raw(t, c.data, c.fds...)
			_ = a.conn.(socket).CloseWrite()
			var w word
			files, err := b.Receive(&w)
			closeAll(files)
			if err == nil || errors.Is(err, ErrPaused) || errors.Is(err, io.EOF) {
				t.Errorf("error is %v; the peer's death in a frame is no clean end", err)
			}
			if after := openFDs(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

// openFDs counts the descriptors of this process; 0 where that can't be known.
func openFDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil && runtime.GOOS == "linux" {
		t.Fatal(err)
	}
	return len(entries)
}

func FuzzReceive(f *testing.F) {
	f.Add(frame(`{"Text":"a","N":1}`, 0), 0)
	f.Add(frame(`{}`, 2), 2)
	f.Add(frame(`{}`, 1), 3)
	f.Add(append(frame(`{}`, 0), frame(`{"N":7}`, 1)...), 1)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, 0)
	f.Add([]byte("x"), 1)
	f.Fuzz(func(t *testing.T, data []byte, fds int) {
		if len(data) == 0 || len(data) > 1<<14 || fds < 0 || fds > 8 {
			t.Skip()
		}
		a, b := pair(t)
		dev := file(t, "")
		rights := make([]int, fds)
		for i := range rights {
			rights[i] = int(dev.Fd())
		}
		before := openFDs(t)
		a.raw(t, data, rights...)
		_ = a.conn.(socket).CloseWrite()
		for {
			var msg json.RawMessage
			files, err := b.Receive(&msg)
			closeAll(files)
			if err != nil {
				break
			}
		}
		if after := openFDs(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}
