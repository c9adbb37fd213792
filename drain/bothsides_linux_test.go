package drain

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
)

// onlyOne checks that something is in one process at a time.
type onlyOne struct {
	what string
	in   []*actor
}

// enter is called where a process gets it. The caller holds mu.
func (o *onlyOne) enter(a *actor) {
	for _, b := range o.in {
		if !b.gone && !a.gone {
			a.wrong("%d has %s, and %d gets it", b.pid, o.what, a.pid)
		}
	}
	o.in = append(o.in, a)
}

func (o *onlyOne) leave(a *actor) {
	o.in = slices.DeleteFunc(o.in, func(b *actor) bool { return b == a })
}

// ownerOf is an Owner in one process.
type ownerOf struct {
	*actor
	*onlyOne
}

func (o ownerOf) Acquire(_ context.Context, r io.Reader) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.enter(o.actor)
	var text string
	if r != nil {
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		text = string(b)
	}
	o.note("%d acquires %q", o.pid, text)
	if text == "" && !o.gone && o.by != nil && !o.by.gone {
		o.wrong("%d acquires nothing, and %d lives", o.pid, o.by.pid)
	}
	return nil
}

func (o ownerOf) Release(_ context.Context, w io.Writer) (err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leave(o.actor)
	o.note("%d releases", o.pid)
	if w != nil {
		_, err = fmt.Fprint(w, "by ", o.pid)
	}
	return err
}

// scene is what the program of a play is, and how often it is swapped.
type scene struct {
	begins func(*actor)
	swaps  int
	most   int // Config.MaxGenerations; 0: the default
}

var scenes = map[string]scene{
	"plain": {begins: func(*actor) {}, swaps: 1},
	"owner": {begins: func(a *actor) {
		a.must(a.svc.Own("state", ownerOf{a, a.only("the state")}))
	}, swaps: 1},
	"lead": {begins: func(a *actor) {
		a.must(a.svc.Lead("cron", func(ctx context.Context) {
			o := a.only("the lead")
			a.mu.Lock()
			o.enter(a)
			a.mu.Unlock()
			<-ctx.Done()
			time.Sleep(300 * time.Millisecond)
			a.mu.Lock()
			o.leave(a)
			a.mu.Unlock()
		}))
	}, swaps: 2},
	"work":  {begins: longJob, swaps: 3},
	"crowd": {begins: longJob, swaps: 4, most: 3},
}

// longJob outlasts its generation.
func longJob(a *actor) {
	a.must(a.svc.Go("job", func(ctx context.Context) {
		select {
		case <-a.svc.DrainStarted():
			time.Sleep(20 * time.Second)
		case <-ctx.Done():
		}
	}))
}

// perform plays a scene, with what happens at a message, and then some more time.
func (sc scene) perform(t *testing.T, at map[int]func(*letter)) *play {
	p := newPlay(t, Config{MaxGenerations: sc.most})
	p.begins, p.at = sc.begins, at
	go p.fork(nil, nil).main()
	time.Sleep(time.Minute)
	for range sc.swaps {
		for _, a := range p.alive() {
			if a.phase() == Ready {
				done := make(chan struct{})
				go func() { defer close(done); _ = a.service().Swap(context.Background()) }()
				select {
				case <-done:
				case <-time.After(30 * time.Second):
				}
				break
			}
		}
	}
	time.Sleep(10 * time.Minute)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = nil
	return p
}

const theLinkEnds = "the link ends"

// faults are what can happen at a message.
var faults = map[string]func(*letter){
	"its sender is dead":        func(m *letter) { m.from.kill() },
	"its sender dies after it":  func(m *letter) { m.dies = true },
	"its reader dies before it": func(m *letter) { m.to.kill() },
	"its reader takes 100 ms":   func(m *letter) { m.late = 100 * time.Millisecond },
	"its reader takes 900 ms":   func(m *letter) { m.late = 900 * time.Millisecond },
	"its reader takes 2 s":      func(m *letter) { m.late = 2 * time.Second },
	"its reader takes 4 s":      func(m *letter) { m.late = 4 * time.Second },
	theLinkEnds:                 func(m *letter) { m.cut, m.peer.cut, m.lost = true, true, true; m.moved.Broadcast() },
	"stop comes to its sender":  func(m *letter) { m.from.gets(machine.Stop, os.Interrupt) },
	"stop comes to its reader":  func(m *letter) { m.to.gets(machine.Stop, os.Interrupt) },
	"swap comes to its sender":  func(m *letter) { m.from.gets(machine.Swap, syscall.SIGHUP) },
	"swap comes to its reader":  func(m *letter) { m.to.gets(machine.Swap, syscall.SIGHUP) },
	"pull comes to its sender":  func(m *letter) { m.from.gets(machine.Pull, syscall.SIGUSR2) },
	"pull comes to its reader":  func(m *letter) { m.to.gets(machine.Pull, syscall.SIGUSR2) },
}

// isRight checks what a play has come to: one process serves, and can be swapped, unless all were told to stop.
func (p *play) isRight() {
	p.t.Helper()
	p.wantNothingWrong()
	left := p.alive()
	p.mu.Lock()
	mayStop, stops, killed, dark := p.mayStop, p.stops, p.killed, p.dark
	p.mu.Unlock()
	switch {
	case len(left) == 0 && (mayStop || dark || killed > 1):
		return
	case stops && killed == 0: // else the one that was told may be dead
		p.t.Fatalf("%d processes are left\n%s", len(left), p.told())
	}
	one := p.main()
	if err := one.service().Swap(context.Background()); err != nil {
		p.t.Errorf("the next swap: %v\n%s", err, p.told())
	}
	time.Sleep(10 * time.Minute)
	if p.main() == one {
		p.t.Errorf("the next swap has changed nothing\n%s", p.told())
	}
	p.wantNothingWrong()
}

// length is how many messages a scene has where nothing happens.
func (sc scene) length(t *testing.T) (sent int) {
	synctest.Test(t, func(t *testing.T) {
		p := sc.perform(t, nil)
		defer p.close()
		p.main()
		p.mu.Lock()
		sent = p.sent
		if n := len(p.all); n != 1+sc.swaps {
			t.Errorf("%d processes; want %d", n, 1+sc.swaps)
		}
		p.mu.Unlock()
		p.isRight()
	})
	return sent
}

// Whatever happens at whichever message of a swap: in the end one process serves, it can be swapped, and nothing that
// is to be in one process was in two.
func TestEachFaultAtEachMessage(t *testing.T) {
	t.Parallel()
	defer onStage()()
	for name, sc := range scenes {
		t.Run(name, func(t *testing.T) {
			sent := sc.length(t)
			for fault, happens := range faults {
				if fault == theLinkEnds && name == "owner" {
					continue // what no process does: both would have the state
				}
				for k := 1; k <= sent; k++ {
					t.Run(fmt.Sprint(fault, " ", k), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							p := sc.perform(t, map[int]func(*letter){k: happens})
							defer p.close()
							p.isRight()
						})
					})
				}
			}
		})
	}
}

// The same holds where two faults come.
func TestTwoFaultsInASwap(t *testing.T) {
	t.Parallel()
	defer onStage()()
	names, all := slices.Sorted(maps.Keys(scenes)), slices.Sorted(maps.Keys(faults))
	all = slices.DeleteFunc(all, func(name string) bool { return name == theLinkEnds })
	var lengths []int
	for _, name := range names {
		lengths = append(lengths, scenes[name].length(t))
	}
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		i := random.IntN(len(names))
		at, title := map[int]func(*letter){}, names[i]
		for len(at) < 2 {
			k, fault := 1+random.IntN(lengths[i]), all[random.IntN(len(all))]
			at[k] = faults[fault]
			title += fmt.Sprint(", ", fault, " ", k)
		}
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := scenes[names[i]].perform(t, at)
				defer p.close()
				p.isRight()
			})
		})
	}
}
