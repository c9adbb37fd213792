package owned

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync"
)

// chunk is what goes into a file, or comes out of it, at once: encoders write and read a few bytes at a time.
const chunk = 64 << 10

var errReturned = errors.New("owned: used after Acquire or Release has returned")

// States are what owners have written. The zero value has none.
type States struct{ all []*state }

// state is what one owner has written: a file, and what that did not take.
type state struct {
	name string
	file *os.File // nil: closed
	rest []byte
}

// From are the states that another process has sent. It takes the files, also where it returns an error.
func From(names []string, files []*os.File) (States, error) {
	var s States
	fit := len(names) == len(files)
	for i, f := range files {
		st := &state{file: f}
		if fit {
			st.name = names[i]
			fit = s.of(st.name) == nil
		}
		s.all = append(s.all, st)
	}
	if !fit {
		s.Close()
		return States{}, fmt.Errorf("%d files came for the states of the owners %q", len(files), names)
	}
	return s, nil
}

// Names returns those of the owners, in the order of Files.
func (s States) Names() (names []string) {
	for _, st := range s.all {
		names = append(names, st.name)
	}
	return names
}

// Files returns the files, for the next generation. They stay with s.
func (s States) Files() (files []*os.File) {
	for _, st := range s.all {
		files = append(files, st.file)
	}
	return files
}

// Close closes the files. A second call does nothing.
func (s States) Close() {
	for _, st := range s.all {
		st.close()
	}
}

// of returns what an owner has written, nil where it has not.
func (s States) of(name string) *state {
	if i := slices.IndexFunc(s.all, func(st *state) bool { return st.name == name }); i >= 0 {
		return s.all[i]
	}
	return nil
}

func (s *state) close() {
	if s != nil {
		_ = s.file.Close() // nil is no fault
		s.file, s.rest = nil, nil
	}
}

// open returns a reader of all that was written, nil where there is nothing to read. It does not read from the offset
// of the descriptor, which all copies of it share.
func (s *state) open() *source {
	if s == nil || s.file == nil {
		return nil
	}
	all := io.MultiReader(io.NewSectionReader(s.file, 0, math.MaxInt64), bytes.NewReader(s.rest))
	return &source{r: bufio.NewReaderSize(all, chunk)}
}

// source is what an owner reads from as long as its Acquire runs.
type source struct {
	mu   sync.Mutex // guards what follows
	r    io.Reader
	over bool
}

func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0, errReturned
	}
	return s.r.Read(p)
}

func (s *source) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// sink is what an owner writes into as long as its Release runs.
type sink struct {
	keep bool     // else it is written into nowhere
	file *os.File // of one that keeps

	mu      sync.Mutex // guards what follows, until end has returned
	buf     []byte     // what the file has not got yet
	refused error      // of a Write, which has returned it
	lost    error      // of what came after the last Write
	over    bool
}

func (s *sink) open() (err error) {
	if s.keep {
		s.file, err = newFile()
	}
	return err
}

func (s *sink) Write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return 0, errReturned
	case !s.keep:
		return len(p), nil
	case s.refused == nil && len(s.buf)+len(p) > chunk:
		s.refused = s.flush()
	}
	switch {
	case s.refused != nil:
		return 0, s.refused
	case len(p) > chunk:
		n, err = s.file.Write(p)
		s.refused = unfit(err)
		return n, s.refused
	}
	s.buf = append(s.buf, p...)
	return len(p), nil
}

// flush leaves in buf what the file did not take.
func (s *sink) flush() error {
	n, err := s.file.Write(s.buf)
	s.buf = s.buf[:copy(s.buf, s.buf[n:])]
	return unfit(err)
}

// unfit tells what to do about an error of a write.
func unfit(err error) error {
	if err != nil {
		err = fmt.Errorf("%w; see ulimit -f and the limit of memory", err)
	}
	return err
}

// end writes what is left, and lets nothing be written any more.
func (s *sink) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if !s.keep || s.refused != nil {
		return
	}
	if s.lost = s.flush(); s.lost == nil {
		s.lost = seal(s.file)
	}
}
