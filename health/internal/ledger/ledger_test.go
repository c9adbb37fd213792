package ledger

import (
	"bytes"
	"container/list"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/baton-go/baton/health/internal/identity"
)

// wantWhole checks that the index and the lists hold the same probers, each in its list.
func wantWhole(t *testing.T, l *Ledger) {
	t.Helper()
	if l.regular.Len()+l.irregular.Len() != l.Len() || l.Len() > MaxProbers {
		t.Fatalf("index %d, regular %d, irregular %d", l.Len(), l.regular.Len(), l.irregular.Len())
	}
	for _, in := range []*list.List{&l.regular, &l.irregular} {
		for e := in.Front(); e != nil; e = e.Next() {
			if p := e.Value.(*Prober); l.index[p.ID] != e || l.listOf(p) != in {
				t.Fatalf("%+v, interval %v: is in the wrong list, or twice", p.ID, p.Interval())
			}
		}
	}
}

func ping(i int) identity.ID { return identity.ID{Kind: identity.Ping, Host: fmt.Sprint("h", i)} }

// raced says that the race detector looks on, which takes ten times as long.
var raced bool

// A rhythm may be found by a pull, which judges all, and be gone at the next probe.
func TestEachProberIsInOneList(t *testing.T) {
	seeds := uint64(12)
	if raced {
		seeds = 2 // of a ledger without goroutines; make test has them all
	}
	for seed := range seeds {
		dice := rand.New(rand.NewPCG(seed, 0))
		l, now := New(), time.Hour
		next := make([]time.Duration, 4) // of the balancers, behind which clients ask in the same form
		for i := range next {
			next[i] = now
		}
		for pull := range uint64(20) {
			if pull%2 == 1 {
				l.Judge(now)
				wantWhole(t, l)
			}
			for range 400 {
				now += time.Duration(float64(60*time.Millisecond) * dice.ExpFloat64())
				l.Seen(ping(dice.IntN(6)), now, pull%2*(pull+1)/2)
				for i := range next {
					if silent := pull%4 == 2; now > next[i] && !silent {
						l.Seen(ping(i), now, 0)
						next[i] = max(now-10*time.Millisecond, next[i]) + time.Duration(i+1)*time.Second
					}
				}
				wantWhole(t, l)
			}
		}
	}
}

func TestAScanDrivesOutTheLongestUnseenAndNoneWithARhythm(t *testing.T) {
	l := New()
	for i := range 3 {
		l.Seen(ping(-1), time.Duration(i)*time.Second, 0)
	}
	for i := range 3 * MaxProbers {
		l.Seen(ping(i), 3*time.Second, 0)
	}
	wantWhole(t, l)
	if _, ok := l.index[ping(-1)]; !ok || l.Len() != MaxProbers {
		t.Errorf("%d probers; the one with a rhythm is there: %v", l.Len(), ok)
	}
	if _, ok := l.index[ping(2*MaxProbers)]; ok {
		t.Error("the longest unseen is still there")
	}
}

func TestALedgerOfProbersWithARhythmTakesNoMore(t *testing.T) {
	l := New()
	for i := range 3 {
		for n := range MaxProbers {
			l.Seen(ping(n), time.Duration(i)*time.Second, 0)
		}
	}
	if p := l.Seen(ping(-1), 2*time.Second, 0); p != nil {
		t.Errorf("%+v came in", p.ID)
	}
	if p := l.Seen(ping(-1), time.Minute, 0); p == nil {
		t.Error("one that is dead is still in the way")
	}
	wantWhole(t, l)
}

func TestWhatIsEncodedComesBack(t *testing.T) {
	l := New()
	for i := range 5 {
		now := time.Duration(i) * time.Second
		l.Seen(ping(1), now, 0)
		l.Seen(identity.ID{Kind: identity.Heartbeat, Host: "h"}, now, 0)
		l.Seen(identity.ID{Kind: identity.Ping, Host: "h", Via: "v", Form: identity.Form{Method: "GET"}}, now, 0)
	}
	b := l.Encode(5 * time.Second)
	lines, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	again := New()
	again.Import(lines, time.Hour)
	if got := again.Encode(time.Hour); !bytes.Equal(got, b) || !again.HeartbeatSeen() {
		t.Errorf("%s, want\n%s", got, b)
	}
	wantWhole(t, again)
}
