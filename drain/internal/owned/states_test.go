package owned

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"
)

// written returns the states of owners on another stage.
func written(t *testing.T, names ...string) States {
	t.Helper()
	s := newStage(t, names...).started()
	states, err := s.Owners.Release(t.Context(), names, bound)
	s.must("Release", err)
	t.Cleanup(states.Close)
	return states
}

// hooks are an Owner.
type hooks struct {
	acquire func(io.Reader) error
	release func(io.Writer) error
}

func (h hooks) Acquire(_ context.Context, r io.Reader) error { return h.acquire(r) }
func (h hooks) Release(_ context.Context, w io.Writer) error { return h.release(w) }

// one returns Owners with one, which is held. Its Acquire reads into the buffer.
func one(t *testing.T, release func(io.Writer) error) (*Owners, *bytes.Buffer) {
	t.Helper()
	var o Owners
	got := new(bytes.Buffer)
	err := errors.Join(o.Add("it", hooks{func(r io.Reader) error {
		if r != nil {
			_, err := io.Copy(got, r)
			return err
		}
		return nil
	}, release}), o.Acquire(t.Context(), States{}, bound))
	if err != nil {
		t.Fatal(err)
	}
	return &o, got
}

// TestAfterReturn: what an owner was given is of no use when its method has returned.
func TestAfterReturn(t *testing.T) {
	var w io.Writer
	var r io.Reader
	o, _ := one(t, func(to io.Writer) error { w = to; return nil })
	states, err := o.Release(t.Context(), o.Names(), bound)
	if err != nil {
		t.Fatal(err)
	}
	defer states.Close()
	if n, err := w.Write([]byte("x")); n != 0 || !errors.Is(err, errReturned) {
		t.Errorf("Write: %d, %v", n, err)
	}
	var next Owners
	_ = next.Add("it", hooks{acquire: func(from io.Reader) error { r = from; return nil }})
	if err := next.Acquire(t.Context(), states, bound); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errReturned) {
		t.Errorf("Read: %d, %v", n, err)
	}
	if _, err := states.Files()[0].Write([]byte("x")); err == nil && runtime.GOOS == "linux" {
		t.Error("the file is not sealed")
	}
}

// TestFrom: files that don't fit the names are refused, and closed.
func TestFrom(t *testing.T) {
	for what, names := range map[string][]string{
		"few": {"a"}, "many": {"a", "b", "c"}, "none": nil, "twice": {"a", "a"},
	} {
		files := written(t, "a", "b").Files()
		if _, err := From(names, files); err == nil {
			t.Errorf("%s: no error", what)
		}
		for _, f := range files {
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s: %v is open", what, f)
			}
		}
	}
}

// TestLargeState: a state of 200 MB goes through without a copy in the heap, in small writes and in large ones.
func TestLargeState(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 400 MB")
	}
	const size = 200 << 20
	for _, piece := range []int{100, 1 << 20} {
		data := bytes.Repeat([]byte("s"), piece)
		o, _ := one(t, func(w io.Writer) error {
			for range size / piece {
				if _, err := w.Write(data); err != nil {
					return err
				}
			}
			return nil
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		states, err := o.Release(t.Context(), o.Names(), bound*10)
		if err != nil {
			t.Fatal(err)
		}
		var got int64
		var next Owners
		_ = next.Add("it", hooks{acquire: func(r io.Reader) (err error) {
			got, err = io.Copy(io.Discard, r)
			return err
		}})
		if err := next.Acquire(t.Context(), states, bound*10); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		states.Close()
		if want := int64(size / piece * piece); got != want {
			t.Errorf("pieces of %d: %d bytes, want %d", piece, got, want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("pieces of %d: %d bytes of heap", piece, n)
		}
	}
}
