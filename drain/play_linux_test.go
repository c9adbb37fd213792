package drain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/process"
)

// play is a service whose generations are all in this process: whole Services, over processes that are none, and links
// in memory. Under synctest a swap takes no time. Each of its messages can be late, be lost with its link, or find a
// generation dead.
type play struct {
	t      testing.TB
	cfg    Config
	begins func(*actor)            // what the program does between New and Run
	at     map[int]func(m *letter) // what happens when that message is sent, by its number

	mu    sync.Mutex // guards what follows, and what is in actors and ends
	moved *sync.Cond
	all   []*actor
	ends  map[uint64]*end // by the inodes of their tokens
	sent  int
	story []string
	one   map[string]*onlyOne

	lost bool // a link between two that live

	mayStop, stops bool // a signal to stop may have come, has come to a process that heeds it
	killed         int
	dark           bool // what served was killed, and no newer process was there
	bad            []string
}

// letter is a message that is about to be sent.
type letter struct {
	*end
	from, to *actor // whoever reads the other end by now; nil: nobody
	late     time.Duration
	dies     bool // its sender, as soon as it is sent
}

// actor is a process, and the Service in it.
type actor struct {
	*play
	pid    int
	ln     *link.Link // to the generation that has started it
	svc    *Service
	has    []*handle // of links
	up     bool      // has said that it is ready
	isUp   chan struct{}
	exits  chan struct{}
	settle func()
	by     *actor // has started it; nil: nobody
	gone   bool
	free   bool // was released
	serves bool // has said so, and has not exited
	doors  bool // are open: it accepts
	hurry  bool // was told to leave soon
	how    error
}

var stage sync.Mutex // held while plays are under way

// onStage lets one play follow another: they share what there is one of in a process.
func onStage() (over func()) {
	stage.Lock()
	return stage.Unlock
}

// newPlay is called in a bubble, by a test that is onStage.
func newPlay(t testing.TB, cfg Config) *play {
	p := &play{t: t, cfg: cfg, begins: func(*actor) {}, ends: map[uint64]*end{}, at: map[int]func(*letter){}}
	p.moved = sync.NewCond(&p.mu)
	p.cfg.Signals = &Signals{}
	return p
}

func (p *play) note(format string, args ...any) {
	p.story = append(p.story, fmt.Sprintf(format, args...))
}

// fork makes a process, for main to run. The caller holds mu.
func (p *play) fork(by *actor, settle func()) *actor {
	const most = 1 << 22 // no process of the system has a higher number
	a := &actor{play: p, pid: most + 1 + len(p.all), by: by, settle: settle,
		isUp: make(chan struct{}), exits: make(chan struct{})}
	p.all = append(p.all, a)
	return a
}

// main is what a program does: New and Run.
func (a *actor) main() {
	err := a.new()
	if err == nil {
		a.begins(a)
		err = a.svc.Run(context.Background())
	}
	a.exit(err)
}

func (a *actor) new() error {
	cfg := a.cfg
	told := cfg.OnEvent
	cfg.OnEvent = func(e Event) {
		a.mu.Lock()
		a.note("%d %v: %s %v", a.pid, e.Phase, e.Kind, e.Err)
		a.mu.Unlock()
		if told != nil {
			told(e)
		}
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	s, err := configure(cfg)
	if err != nil {
		return err
	}
	files, err := process.Inherit()
	if err != nil {
		return err
	}
	in := newInbox()
	sys := &system{processes: a, pid: a.pid, binary: process.Self.Binary, inherits: a.by != nil, files: files,
		fds: files}
	o, err := inherit(&s.cfg, sys)
	if err != nil {
		return err
	}
	if a.by == nil {
		o.keeper, o.generation = os.Stdin, 1 // noSwap
	}
	s.assemble(in, newSignals(s.cfg.Signals, in.ended), o)
	s.run.parts = append(s.run.parts, part{
		acquire: func() { a.opens(true) },
		yield:   func() { a.opens(false) },
		end:     func(ending) { a.opens(false) },
	})
	a.mu.Lock()
	a.svc = s
	gone := a.gone
	a.mu.Unlock()
	if gone {
		go s.endSoon()
	}
	if o.starter != nil {
		go s.run.adopter.hear(o.starter)
	}
	go s.run.loop()
	return nil
}

// opens is told that the process accepts from now on, or no more. Somebody is to do so all the time, until the service
// stops, or the one that does is killed.
func (a *actor) opens(is bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.doors = is
	accepts := func(b *actor) bool { return b.doors && !b.gone }
	if !is && !a.gone && a.killed == 0 && !a.mayStop && !slices.ContainsFunc(a.all, accepts) {
		a.wrong("when %d has closed its doors, no other has opened them", a.pid)
	}
}

// hurries is told that the process tells another one to leave soon: the oldest that it knows, since there are too many.
func (a *actor) hurries(to *actor) {
	if to == nil {
		return
	}
	to.hurry = true
	for _, h := range a.has {
		if b := h.peer.reader(); !h.closed && b != nil && b.pid < to.pid && !b.hurry && !b.gone {
			a.wrong("%d is told to leave before %d", to.pid, b.pid)
		}
	}
}

// leaves ends what the process has, and tells whether it was alive. What remains of the Service finds all its links
// closed, and nobody hears of it. The caller holds mu.
func (a *actor) leaves(how error) bool {
	if a.gone {
		return false
	}
	a.gone, a.how = true, how
	if how == errKilled {
		a.killed++
		newer := func(b *actor) bool { return b.pid > a.pid && !b.gone }
		a.dark = a.dark || a.serves && !slices.ContainsFunc(a.all, newer)
	}
	a.note("%d exits: %v", a.pid, how)
	for _, h := range a.has {
		h.closeLocked()
	}
	return true
}

// isGone tells the parent, and ends the Service.
func (a *actor) isGone() {
	if a.settle != nil {
		a.settle()
	}
	close(a.exits)
	if s := a.service(); s != nil {
		s.endSoon()
	}
}

// service returns nil before New has returned.
func (a *actor) service() *Service {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.svc
}

func (a *actor) phase() Phase {
	if s := a.service(); s != nil {
		return s.Status().Phase
	}
	return ""
}

// exit is the end of the process.
func (a *actor) exit(how error) {
	a.mu.Lock()
	alive := a.leaves(how)
	a.mu.Unlock()
	if alive {
		a.isGone()
	}
}

// endSoon ends what nobody hears of.
func (s *Service) endSoon() {
	for s.run.post(machine.Signaled{Verb: machine.Stop, Signal: os.Interrupt, At: time.Now()}) {
		time.Sleep(time.Second)
	}
}

var errKilled = errors.New("killed")

// kill ends the process. The caller holds mu.
func (a *actor) kill() {
	if a.leaves(errKilled) {
		go a.isGone()
	}
}

// gets sends a signal to the process, unless that proves itself still: then it alone would end. The caller holds mu.
func (a *actor) gets(v machine.Verb, sig os.Signal) {
	a.note("%d gets %v", a.pid, v)
	if s := a.svc; s != nil && (a.by == nil || a.up) {
		at := time.Now()
		a.mayStop = a.mayStop || v == machine.Stop
		go func() {
			came, st := s.run.post(machine.Signaled{Verb: v, Signal: sig, At: at}), s.Status()
			late := st.Phase == Draining && at.Sub(st.Since) > machine.ForwardTime
			a.mu.Lock()
			defer a.mu.Unlock()
			a.stops = a.stops || v == machine.Stop && came && st.Phase != Stopped && !late
		}()
	}
}

// The process is what its parent has of it.

func (a *actor) Ready() <-chan struct{}  { return a.isUp }
func (a *actor) Exited() <-chan struct{} { return a.exits }
func (a *actor) Err() error              { return fmt.Errorf("child exited: %w", a.how) }
func (a *actor) Said() string            { return "" }

func (a *actor) Kill() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.by.gone {
		a.kill()
	}
}

func (a *actor) Release() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = a.free || !a.gone
	return a.free
}

// The rest implements processes.

func (a *actor) parent() (*link.Link, error) { return a.ln, nil }

func (a *actor) ready() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		return nil
	}
	if a.by.gone {
		return syscall.EPIPE
	}
	a.up = true
	a.has[0].peer.soon(func() { close(a.isUp) })
	return nil
}

func (a *actor) pair() (*link.Link, *os.File, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	near, err := a.newEnd()
	if err != nil {
		return nil, nil, err
	}
	far, err := a.newEnd()
	if err != nil {
		return nil, nil, err
	}
	near.peer, far.peer = far, near
	far.flying++
	token, err := far.token()
	return link.Over(a.take(near)), token, err
}

func (a *actor) open(f *os.File) (*link.Link, error) {
	defer f.Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.endOf(f)
	if e == nil {
		return nil, errors.New("no link")
	}
	e.flying--
	return link.Over(a.take(e)), nil
}

func (a *actor) start(far *os.File, _ func() bool, settle func()) (child, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return nil, errKilled
	}
	e := a.endOf(far)
	next := a.fork(a, settle)
	alive := slices.DeleteFunc(slices.Clone(a.all), func(b *actor) bool { return b.gone })
	if most := a.svc.cfg.MaxGenerations; len(alive) > most && a.killed == 0 && !a.lost {
		a.wrong("%d processes live; want %d at most", len(alive), most)
	}
	e.flying--
	next.ln = link.Over(next.take(e))
	go next.main()
	return next, nil
}

func (a *actor) die(os.Signal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kill()
}

func (a *actor) alive(pid int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.find(pid)
	return b != nil && !b.gone
}

func (a *actor) signal(pid int, sig os.Signal, lives func() bool) {
	if !lives() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.find(pid)
	if b != nil && !a.gone && sig == syscall.SIGKILL {
		b.kill()
	}
}

func (p *play) find(pid int) *actor {
	i := slices.IndexFunc(p.all, func(a *actor) bool { return a.pid == pid })
	if i < 0 {
		return nil
	}
	return p.all[i]
}

// end is one of the two of a link.
type end struct {
	*play
	peer   *end
	file   *os.File // stands for it where it is passed on
	open   int      // handles
	flying int      // tokens on their way
	came   []byte
	fds    []flight
	coming int // messages that are late
	after  time.Time
	cut    bool
}

// flight are descriptors that come with the byte at that place.
type flight struct {
	at  int
	fds []int
}

// handle is an end that a process has open.
type handle struct {
	*end
	of     *actor
	closed bool
	deaf   bool // CloseRead
	by     time.Time
}

func (p *play) newEnd() (*end, error) {
	fd, err := unix.MemfdCreate("end", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	e := &end{play: p, file: os.NewFile(uintptr(fd), "end")}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	p.ends[st.Ino] = e
	return e, nil
}

func (e *end) token() (*os.File, error) {
	fd, err := unix.FcntlInt(e.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return os.NewFile(uintptr(fd), "token"), err
}

// endOf is the one for which a file stands, or nil.
func (p *play) endOf(f *os.File) *end { return p.endOfFD(int(f.Fd())) }

func (p *play) endOfFD(fd int) *end {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return nil
	}
	return p.ends[st.Ino]
}

// take opens an end in this process.
func (a *actor) take(e *end) *handle {
	h := &handle{end: e, of: a}
	e.open++
	a.has = append(a.has, h)
	if a.gone {
		h.closeLocked()
	}
	return h
}

func (h *handle) closeLocked() {
	if !h.closed {
		h.closed = true
		h.open--
		h.moved.Broadcast()
	}
}

func (h *handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closeLocked()
	return nil
}

// isHung tells whether nothing comes any more but what has come.
func (e *end) isHung() bool { return e.cut || e.peer.open == 0 && e.peer.flying == 0 }

func (h *handle) Read(b []byte) (int, error) {
	n, fds, err := h.ReadFDs(b)
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	return n, err
}

func (h *handle) ReadFDs(b []byte) (n int, fds []int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.closed:
			return 0, nil, net.ErrClosed
		case !h.by.IsZero() && !time.Now().Before(h.by):
			return 0, nil, os.ErrDeadlineExceeded
		case len(h.came) > 0:
			n = copy(b, h.came)
			if len(h.fds) > 1 { // no read goes over the place where others begin
				n = min(n, h.fds[1].at)
			}
			if len(h.fds) > 0 && h.fds[0].at < n {
				fds, h.fds = h.fds[0].fds, h.fds[1:]
			}
			for i := range h.fds {
				h.fds[i].at -= n
			}
			h.came = h.came[n:]
			return n, fds, nil
		case h.deaf, h.isHung() && h.coming == 0:
			return 0, nil, io.EOF
		}
		h.moved.Wait()
	}
}

func (h *handle) Write(b []byte) (int, error) { return h.WriteFDs(b, nil) }

// WriteFDs is called once for each message.
func (h *handle) WriteFDs(b []byte, files []syscall.Conn) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, net.ErrClosed
	}
	h.sent++
	m := &letter{end: h.end, from: h.of, to: h.peer.reader()}
	h.note("%d: %d says %s", h.sent, h.of.pid, words(b))
	if happens := h.at[h.sent]; happens != nil && m.to != nil {
		happens(m)
	}
	if h.closed || h.isHung() {
		return 0, syscall.EPIPE
	}
	var said message
	_ = json.Unmarshal(b[min(8, len(b)):], &said)
	switch said.Kind {
	case kindServing:
		h.of.serves = true
	case kindHurry:
		h.of.hurries(m.to)
	}
	var fds []int
	for _, f := range files {
		fd := -1
		rc, err := f.SyscallConn()
		if err == nil {
			err = rc.Control(func(n uintptr) { fd, _ = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) })
		}
		if err != nil {
			return 0, err
		}
		if e := h.endOfFD(fd); e != nil {
			e.flying++
		}
		fds = append(fds, fd)
	}
	whole, to := slices.Clone(b), h.peer
	arrive := func() {
		if len(fds) > 0 {
			to.fds = append(to.fds, flight{len(to.came), fds})
		}
		to.came = append(to.came, whole...)
		to.moved.Broadcast()
	}
	if by := time.Now().Add(m.late); by.After(to.after) {
		to.after = by
	}
	to.soon(arrive)
	if m.dies {
		h.of.kill()
	}
	return len(b), nil
}

// soon calls f when the reader has read what has come before: it may be slow. The caller holds mu, as f does.
func (e *end) soon(f func()) {
	wait := time.Until(e.after)
	if wait <= 0 {
		f()
		return
	}
	e.coming++
	time.AfterFunc(wait, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.coming--
		f()
	})
}

// words is a message without its head.
func words(b []byte) string {
	if len(b) < 8 {
		return fmt.Sprint(len(b), " bytes")
	}
	return string(b[8:])
}

// reader is the process that has an end open, nil where none has.
func (e *end) reader() *actor {
	for _, a := range e.all {
		for _, h := range a.has {
			if h.end == e && !h.closed {
				return a
			}
		}
	}
	return nil
}

func (h *handle) SetReadDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.by = t
	h.moved.Broadcast()
	if wait := time.Until(t); wait > 0 {
		time.AfterFunc(wait, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.moved.Broadcast()
		})
	}
	return nil
}

func (h *handle) SetWriteDeadline(time.Time) error { return nil }

func (h *handle) CloseRead() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deaf = true
	h.moved.Broadcast()
	return nil
}

func (h *handle) Calm() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.closed && len(h.came) == 0 && h.coming == 0 && !h.isHung()
}

func (h *handle) Hung() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed || h.isHung()
}

func (h *handle) SyscallConn() (syscall.RawConn, error) { return h.file.SyscallConn() }

// must fails the test where a program can't begin, but for one that was told to stop by then.
func (p *play) must(err error) {
	if err != nil && !errors.Is(err, ErrDraining) {
		p.t.Error(err)
	}
}

// only returns the check of that name.
func (p *play) only(what string) *onlyOne {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.one == nil {
		p.one = map[string]*onlyOne{}
	}
	if p.one[what] == nil {
		p.one[what] = &onlyOne{what: what}
	}
	return p.one[what]
}

// wrong notes what must not be. The caller holds mu.
func (p *play) wrong(format string, args ...any) {
	p.note("WRONG: "+format, args...)
	p.bad = append(p.bad, fmt.Sprintf(format, args...))
}

// right fails the test if something was wrong.
func (p *play) right() {
	p.t.Helper()
	p.mu.Lock()
	bad := p.bad
	p.mu.Unlock()
	if len(bad) > 0 {
		p.t.Fatalf("%q\n%s", bad, p.told())
	}
}

func (p *play) alive() []*actor {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.all), func(a *actor) bool { return a.gone })
}

// main is the one generation that serves. It fails the test where there is none, or another process.
func (p *play) main() *actor {
	p.t.Helper()
	alive := p.alive()
	if len(alive) != 1 || !slices.Contains([]Phase{Ready, Pulled}, alive[0].phase()) {
		var phases []string
		for _, a := range alive {
			phases = append(phases, fmt.Sprintf("%d is %v", a.pid, a.phase()))
		}
		p.t.Fatalf("%q; want one process that is ready\n%s", phases, p.told())
	}
	return alive[0]
}

func (p *play) told() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.story, "\n")
}

// end stops what lives, and closes what stands for links.
func (p *play) close() {
	p.mu.Lock()
	all := slices.Clone(p.all)
	p.mu.Unlock()
	for _, a := range all {
		a.exit(errKilled)
	}
	for _, a := range all {
		if s := a.service(); s != nil {
			<-s.run.over
		}
	}
	time.Sleep(time.Hour) // what goes on in them ends
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.ends {
		_ = e.file.Close()
		for _, f := range e.fds {
			for _, fd := range f.fds {
				_ = unix.Close(fd)
			}
		}
	}
}
