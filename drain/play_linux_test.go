package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	dark           bool     // what served was killed, and no newer process was there
	bad            []string // what must not be
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
	p := &play{t: t, cfg: cfg, ends: map[uint64]*end{}, one: map[string]*onlyOne{}}
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
	cfg.OnEvent = func(e Event) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.note("%d %v: %s %v", a.pid, e.Phase, e.Kind, e.Err)
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
	alive := a.aliveLocked()
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

// wantNothingWrong fails the test if something was.
func (p *play) wantNothingWrong() {
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
	return p.aliveLocked()
}

func (p *play) aliveLocked() []*actor {
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

// close stops what lives, and closes what stands for links.
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
