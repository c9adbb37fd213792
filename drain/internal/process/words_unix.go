//go:build unix

package process

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Why a program could not start is what it writes to its standard error last. The process that starts it
// passes two pipes, each of which a child of another version ignores and closes:
//
//   - stderrName, with the device and inode of the standard error that it means. The child puts it in that one's place
//     until Run, and the parent copies what comes there. So nothing is lost when the child exits. It is passed only
//     where a copy is the same to the reader. A terminal and the journal's socket, whose lines bear the pid of the
//     process that writes them, stay what they are.
//   - lastWordsName, where the Go runtime writes a crash besides, at any time, and package log until Run, where
//     standard error stays what it is. A write to it does not wait: what does not fit is dropped.
const (
	stderrName    = "baton-stderr"
	lastWordsName = "baton-last-words"
)

const (
	maxLines = 6    // of what a child has said
	maxLine  = 300  // bytes
	maxWords = 1000 // bytes of all that
	drainFor = 200 * time.Millisecond
)

// words hears what a child says.
type words struct {
	mu    sync.Mutex // guards what follows
	begun []byte     // a line
	last  []string   // lines
	crash []string   // of Go: the first lines
	over  chan struct{}
}

// hear reads to the end of a pipe, and copies it unless out is nil.
func (w *words) hear(pipe, out *os.File) {
	defer close(w.over)
	defer pipe.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := pipe.Read(buf)
		w.take(buf[:n])
		if out != nil {
			_, _ = out.Write(buf[:n])
		}
		if err != nil {
			break
		}
	}
	if out != nil {
		_ = out.Close()
	}
}

func (w *words) take(text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(text) > 0 {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		w.begun = append(w.begun, line[:min(len(line), maxLine-min(maxLine, len(w.begun)))]...)
		if text = rest; ended {
			w.endLine()
		}
	}
}

func (w *words) endLine() {
	line := strings.TrimSpace(plain(w.begun))
	w.begun = w.begun[:0]
	crash := strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
	switch n := len(w.crash); {
	case n == 0 && crash, n > 0 && n < maxLines && line != "" && w.crash[n-1] != "":
		w.crash = append(w.crash, line)
	case n > 0 && n < maxLines:
		w.crash = append(w.crash, "") // what follows are stacks
	case line != "":
		w.last = append(w.last[max(0, len(w.last)-maxLines+1):], line)
	}
}

// said is what the child has said, once it is dead: the beginning of a crash, or else its last lines.
func (w *words) said() (text string, crash bool) {
	if w == nil {
		return "", false
	}
	select {
	case <-w.over:
	case <-time.After(drainFor): // a daemon has it open, or what is copied to takes nothing
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.begun) > 0 {
		w.endLine()
	}
	lines, crash := w.last, len(w.crash) > 0
	if crash {
		lines = slices.DeleteFunc(slices.Clone(w.crash), func(s string) bool { return s == "" })
	}
	text = strings.Join(lines, " | ")
	return strings.ToValidUTF8(text[max(0, len(text)-maxWords):], ""), crash
}

// plain leaves out colours and other orders to a terminal.
func plain(line []byte) string {
	escaped := false
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\x1b':
			escaped = true
		case escaped:
			escaped = r == '[' || r == ';' || '0' <= r && r <= '9'
		case r == '\t':
			return ' '
		case r >= ' ' && r != 0x7f:
			return r
		}
		return -1
	}, strings.ToValidUTF8(string(line), ""))
}

// hearing is what a parent has of a child's words.
type hearing struct {
	stderr, last *words     // nil: not heard
	pipes        []*os.File // for the child
	passed       []Passed
}

// listen makes the pipes for a child with that standard error. Without them the swap goes on all the same.
func listen(stderr int) *hearing {
	h := new(hearing)
	if id := identity(stderr); id != "" {
		if out, err := unix.FcntlInt(uintptr(stderr), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			h.stderr = h.pipe(Name{kindFile, stderrName, id}, os.NewFile(uintptr(out), "stderr"))
		}
	}
	h.last = h.pipe(Name{Kind: kindFile, Network: lastWordsName}, nil)
	return h
}

func (h *hearing) pipe(name Name, out *os.File) *words {
	r, w, err := os.Pipe()
	if err != nil {
		if out != nil {
			_ = out.Close()
		}
		return nil
	}
	words := &words{over: make(chan struct{})}
	go words.hear(r, out)
	// A program writes to standard error as long as it takes.
	_ = unix.SetNonblock(number(w), out == nil)
	h.pipes = append(h.pipes, w)
	h.passed = append(h.passed, Passed{name, number(w)})
	return words
}

// started closes the child's ends.
func (h *hearing) started() {
	for _, f := range h.pipes {
		_ = f.Close()
	}
}

// said tells what the child has last said, or where.
func (h *hearing) said(pid int) string {
	said, _ := h.stderr.said()
	if last, crash := h.last.said(); last != "" && (said == "" || crash) {
		said = last
	}
	switch {
	case said != "":
		return "it said last: " + said
	case lookup(Self.Env, "JOURNAL_STREAM") != "":
		return fmt.Sprintf("for what it said see journalctl _PID=%d", pid)
	}
	return "for what it said see standard error"
}

// identity names what a descriptor is, where a pipe may take its place for a while; "": not so.
func identity(fd int) string {
	var st unix.Stat_t
	if runtime.GOOS != "linux" || unix.Fstat(fd, &st) != nil ||
		st.Mode&unix.S_IFMT != unix.S_IFIFO && st.Mode&unix.S_IFMT != unix.S_IFREG {
		return ""
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// speaking is what this process has put in the place of its standard error.
var speaking struct {
	sync.Mutex
	pipe string // its identity; "": nothing
	log  io.Writer
}

// useWords heeds the pipes that were passed. Standard error is kept in Self.
func useWords(passed map[Name]int) {
	last := -1
	for name, fd := range passed {
		if name.Kind != kindFile || name.Network != stderrName && name.Network != lastWordsName {
			continue
		}
		delete(passed, name)
		switch {
		case name.Network == lastWordsName:
			last = fd
			continue
		// A script may have given the program another one.
		case identity(2) == name.Address && name.Address != "" && Self.Stdio[2] != 2 && dupOnto(fd, 2) == nil:
			speaking.pipe = identity(2)
		}
		_ = unix.Close(fd)
	}
	if last < 0 {
		return
	}
	f := os.NewFile(uintptr(last), lastWordsName)
	_ = debug.SetCrashOutput(f, debug.CrashOptions{})
	if speaking.pipe != "" || log.Writer() != io.Writer(os.Stderr) {
		_ = f.Close()
		return
	}
	speaking.log = io.MultiWriter(quiet{f}, os.Stderr)
	log.SetOutput(speaking.log)
}

// quiet is a file whose errors are ignored.
type quiet struct{ f *os.File }

func (q quiet) Write(b []byte) (int, error) {
	_, _ = q.f.Write(b)
	return len(b), nil
}

// OwnStderr gives this process its standard error back, at the latest moment at which the process that has started it
// surely lives. What the program has put in its place meanwhile stays. A subprocess that has got the pipe may keep it:
// this process copies what comes from there.
func OwnStderr() {
	speaking.Lock()
	defer speaking.Unlock()
	if speaking.log != nil {
		if log.Writer() == speaking.log {
			log.SetOutput(os.Stderr)
		}
		speaking.log = nil
	}
	pipe := speaking.pipe
	if speaking.pipe = ""; pipe == "" || identity(2) != pipe {
		return
	}
	r, err := os.OpenFile("/proc/self/fd/2", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if dupOnto(Self.Stdio[2], 2) != nil || err != nil {
		return
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(os.Stderr, r)
		_ = r.Close()
	}()
	select {
	case <-copied: // by whichever process: what was said before comes before what is said from now on
	case <-time.After(drainFor):
	}
}
