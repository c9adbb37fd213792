package owned

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFullFile: where the file does not take what is written, Release fails, whatever the owner returns. What was
// refused to its face it has not given up. What it was told is written is there when it acquires again.
func TestFullFile(t *testing.T) {
	const limit = 200_000
	for name, c := range map[string]struct {
		pieces, size int
		swallow      bool
		released     bool
	}{
		"many writes":            {pieces: 4000, size: 100},
		"many writes, swallowed": {pieces: 4000, size: 100, swallow: true},
		"one write":              {pieces: 1, size: 2 * limit},
		"one write, swallowed":   {pieces: 1, size: 2 * limit, swallow: true},
		"the last bytes":         {pieces: limit/100 + 9, size: 100, released: true},
		"the last write":         {pieces: 1 + limit/chunk, size: chunk, released: true},
	} {
		t.Run(name, func(t *testing.T) {
			piece := bytes.Repeat([]byte("s"), c.size)
			o, got := one(t, func(w io.Writer) error {
				for range c.pieces {
					if _, err := w.Write(piece); err != nil && !c.swallow {
						return err
					}
				}
				return nil
			})
			raise := lower(t, unix.RLIMIT_FSIZE, limit)
			_, err := o.Release(t.Context(), o.Names(), bound)
			raise()
			if !errors.Is(err, unix.EFBIG) || strings.Count(err.Error(), "file too large; see ulimit -f") != 1 {
				t.Errorf("Release: %v", err)
			}
			if err := o.Regain(t.Context(), bound); err != nil {
				t.Fatal(err)
			}
			want := 0
			if c.released {
				want = c.pieces * c.size
			}
			if got.Len() != want {
				t.Errorf("%d bytes came back, want %d", got.Len(), want)
			}
		})
	}
}

// TestNoDescriptor: an owner for whose state there is no file is not released.
func TestNoDescriptor(t *testing.T) {
	o, _ := one(t, func(io.Writer) error { t.Error("Release is called"); return nil })
	free, err := os.Open(os.DevNull) // what is opened next has the number after the largest, or a lower free one
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	raise := lower(t, unix.RLIMIT_NOFILE, 0)
	_, err = o.Release(t.Context(), o.Names(), bound)
	raise()
	if !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), `owner "it"`) {
		t.Errorf("Release: %v", err)
	}
}

// lower sets a limit of this process, until the function that it returns is called.
func lower(t *testing.T, limit int, to uint64) (raise func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(limit, &old); err != nil {
		t.Fatal(err)
	}
	set := func(soft uint64) {
		if err := unix.Setrlimit(limit, &unix.Rlimit{Cur: soft, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
	}
	set(to)
	return func() { set(old.Cur) }
}
