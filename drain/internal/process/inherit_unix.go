//go:build unix

package process

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"
)

// sentinel is how tableflip v1.2.3 tells a child that it is one.
const sentinel = "TABLEFLIP_HAS_PARENT_7DIU3"

// The descriptors of the protocol.
const (
	readyFD = 3
	namesFD = 4
	firstFD = 5
)

const (
	// namesWithin is how long a parent may take to say what it passes. Nothing but the start of the child lies between.
	namesWithin = 5 * time.Second
	maxNames    = 1 << 20 // bytes
)

// inherited is what another process has passed to this one. It is taken before the program can
// start processes, which must neither inherit it nor take themselves for generations.
var inherited = takeInherited()

type inheritance struct {
	started bool // by another process, to take over
	files   map[Name]int
	err     error
	score   *score // raised; see Promoted
}

// Started tells whether another process has started this one to take over from it.
func Started() bool { return inherited.started }

// Inherit returns what another process has passed to this one, and an error if that can't be known.
// Descriptors that are not what the protocol says are left alone: they are the program's.
func Inherit() (*Files, error) {
	if inherited.err != nil {
		return newFiles(nil), inherited.err
	}
	return newFiles(inherited.files), nil
}

func takeInherited() (in inheritance) {
	in.score = new(score)
	if Getenv(sentinel) == "" {
		return in
	}
	_ = os.Unsetenv(sentinel)
	in.started = true
	in.score = openScore("self")
	in.score.raise()     // the old generation has not, if it is of another version, or of another user
	OutliveBrokenPipes() // it may log before New
	in.files, in.err = readInherited(time.Now().Add(namesWithin))
	useWords(in.files)
	if in.err != nil {
		in.err = fmt.Errorf("%s says that another process passes its sockets to this one: %w; unset it "+
			"to start without", sentinel, in.err)
	}
	return in
}

func readInherited(deadline time.Time) (map[Name]int, error) {
	for _, fd := range []int{readyFD, namesFD} {
		mode, err := passedMode(fd)
		if err != nil {
			return nil, fmt.Errorf("descriptor %d: %w", fd, err)
		}
		if mode != unix.S_IFIFO {
			return nil, fmt.Errorf("descriptor %d is not a pipe", fd)
		}
	}
	var names [][]string
	if err := gob.NewDecoder(io.LimitReader(&pipeReader{namesFD, deadline}, maxNames)).Decode(&names); err != nil {
		return nil, fmt.Errorf("no names of what it passes: %w", err)
	}
	files := make(map[Name]int)
	for i, parts := range names {
		name, err := toName(parts, firstFD+i)
		if err != nil {
			return nil, fmt.Errorf("descriptor %d, %q: %w", firstFD+i, parts, err)
		}
		files[name] = firstFD + i
	}
	for fd := range firstFD + len(names) {
		if fd >= readyFD {
			unix.CloseOnExec(fd)
		}
	}
	return files, nil
}

func toName(parts []string, fd int) (name Name, err error) {
	if len(parts) < 2 || len(parts) > 3 {
		return name, errors.New("no name")
	}
	name = Name{Kind: parts[0], Network: parts[1]}
	if len(parts) == 3 {
		name.Address = parts[2]
	}
	mode, err := passedMode(fd)
	if err != nil {
		return name, err
	}
	if name.Socket() && mode != unix.S_IFSOCK {
		return name, errors.New("not a socket")
	}
	return name, nil
}

// passedMode is the type of a descriptor that came through exec. This process's own ones, as those of Go's runtime, are
// close-on-exec.
func passedMode(fd int) (uint32, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		return 0, err
	}
	if flags&unix.FD_CLOEXEC != 0 {
		return 0, errors.New("was not passed to this process")
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return uint32(st.Mode & unix.S_IFMT), err
}

// PassedSocket reports whether a descriptor is a socket that was passed to this process.
func PassedSocket(fd int) bool {
	mode, err := passedMode(fd)
	return err == nil && mode == unix.S_IFSOCK
}

// OutliveBrokenPipes makes a write to a standard file without a reader return EPIPE. Otherwise Go ends the
// process: right for a command in a pipeline, wrong for a service that has lost the reader of its log.
func OutliveBrokenPipes() {
	if !signal.Ignored(unix.SIGPIPE) { // subprocesses inherit that, and not this
		signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	}
}

// pipeReader reads from a pipe, whether that blocks or not, until a deadline.
type pipeReader struct {
	fd       int
	deadline time.Time
}

func (r *pipeReader) Read(b []byte) (int, error) {
	for {
		left := time.Until(r.deadline)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}, max(0, int(left.Milliseconds())))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, fmt.Errorf("it says nothing within %v", namesWithin)
		}
		n, err = unix.Read(r.fd, b)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Over ends what another process has to do with this one: from now on it counts as one that no generation has started.
func Over() { inherited = inheritance{score: inherited.score} }

// Upgrader returns tableflip's Upgrader for this process, through which a child says that it is ready. It passes
// nothing on and refuses nothing: what was inherited is in Files, and it believes that its parent has exited. A process
// has one, for all its services: only the first New of tableflip succeeds.
func Upgrader() (*tableflip.Upgrader, error) {
	upgrader.Lock()
	defer upgrader.Unlock()
	if upgrader.only != nil {
		return upgrader.only, nil
	}
	if inherited.started && !upgrader.tried { // the next time, the numbers are other files'
		upgrader.tried = true
		if err := sayNothing(); err != nil {
			return nil, err
		}
		if err := os.Setenv(sentinel, "yes"); err != nil {
			return nil, err
		}
		defer os.Unsetenv(sentinel)
	}
	u, err := tableflip.New(tableflip.Options{})
	upgrader.only = u
	return u, err
}

var upgrader struct {
	sync.Mutex
	only  *tableflip.Upgrader
	tried bool
}

// sayNothing puts a pipe with an empty list of names in the place of the parent's.
func sayNothing() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	err = gob.NewEncoder(w).Encode([][]string{})
	return errors.Join(err, w.Close(), dupTo(number(r), namesFD))
}
