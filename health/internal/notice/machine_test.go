package notice

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/baton-go/baton/health/internal/identity"
)

// life is what may happen to a machine: balancers of all kinds, each at its own pace, visitors, and an operator.
type life struct {
	*rand.Rand
	m       *Machine
	now     time.Duration
	ids     []identity.ID
	every   []time.Duration
	next    []time.Duration
	watches []*Watch
}

func newLife(seed uint64) *life {
	l := &life{Rand: rand.New(rand.NewPCG(seed, 0)), now: time.Hour}
	least := l.within(3 * time.Second)
	l.m = New(Config{Failures: 1 + l.IntN(4), PullMin: least, PullMax: least + time.Second + l.within(time.Minute)})
	l.m.Heartbeats = l.IntN(2)
	kinds := []string{identity.Ping, identity.Ping, identity.Agent, identity.Heartbeat}[:3+l.m.Heartbeats]
	for range 1 + l.IntN(5) {
		id := identity.ID{Kind: kinds[l.IntN(len(kinds))], Host: fmt.Sprint("h", l.IntN(3))}
		if l.IntN(4) == 0 {
			id.Via = "client"
		}
		l.ids = append(l.ids, id)
		l.every = append(l.every, 50*time.Millisecond+l.within(6*time.Second))
		l.next = append(l.next, l.now+l.within(6*time.Second))
	}
	return l
}

func (l *life) within(most time.Duration) time.Duration { return time.Duration(l.Int64N(int64(most))) }

// until lets everything happen until then.
func (l *life) until(then time.Duration) {
	for {
		i := 0
		for n := range l.next {
			if l.next[n] < l.next[i] {
				i = n
			}
		}
		if l.next[i] > then {
			l.now = then
			return
		}
		l.now = l.next[i]
		l.next[i] += l.every[i] + l.within(l.every[i]/10)
		p := l.m.Probe(l.ids[i], l.now)
		l.m.Failed(p, l.m.Present(), l.now)
		switch l.IntN(12) {
		case 0:
			l.m.Arrived(l.now)
		case 1:
			l.m.Visited(l.ids[i].Host+":1", l.now)
		case 2:
			l.watches = append(l.watches, l.m.Watched(identity.ID{Kind: identity.Watch}))
		case 3, 4, 5:
			if n := len(l.watches); n > 0 {
				l.m.Told(l.watches[l.IntN(n)], l.IntN(2) == 0, l.now)
			}
		}
	}
}

// A timer fires when Wait says. It must not be late: until then nothing changes by itself, and PullMax ends all.
func TestNothingChangesBeforeWaitSaysSo(t *testing.T) {
	early := 0
	for seed := range uint64(300) {
		l := newLife(seed)
		for range 3 {
			l.until(l.now + l.within(time.Minute))
			l.m.Pull(l.now)
			for begun := l.now; ; {
				wait := l.m.Wait(l.now)
				if wait > l.m.cfg.PullMax-(l.now-begun) {
					t.Fatalf("seed %d: waits for %v, %v after the pull; PullMax is %v",
						seed, wait, l.now-begun, l.m.cfg.PullMax)
				}
				if wait <= 0 {
					if l.now-begun < l.m.cfg.PullMin {
						t.Fatalf("seed %d: noticed after %v, before PullMin, %v", seed, l.now-begun, l.m.cfg.PullMin)
					}
					if l.now-begun < l.m.cfg.PullMax {
						early++
					}
					break
				}
				at := l.now + l.within(wait)
				if got := l.m.Wait(at); got <= 0 {
					t.Fatalf("seed %d: %v after the pull it waits for %v, and it is noticed after %v",
						seed, l.now-begun, wait, at-begun)
				}
				l.until(l.now + wait)
			}
			l.until(l.now + l.within(time.Second))
			l.m.Restore()
		}
	}
	if early < 100 {
		t.Errorf("%d of 900 pulls were noticed before PullMax: the test tests little", early)
	}
}
