//go:build linux

// Package state has the services that own a database swapped, stopped and killed under clients that never retry, and
// opens the database afterwards: what was acknowledged is there, once.
package state

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite"
)

func TestMain(m *testing.M) {
	flow.Race = true
	flow.Main(m)
}

// database is what an example keeps its hits in.
type database struct {
	service string
	locked  string // what Acquire says while a stranger has the lock
	// lock waits for the lock that the service has while the database is open.
	lock func(f *os.File) error
	read func(path string, hits map[string]int) error
}

var databases = []database{
	{
		service: "bbolt",
		locked:  "hits.db, which no other process may have open: timeout",
		lock:    func(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX) },
		read: func(path string, hits map[string]int) error {
			db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
			if err != nil {
				return err
			}
			defer db.Close()
			return db.View(func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("hits")).ForEach(func(name, n []byte) error {
					hits[string(name)], err = strconv.Atoi(string(n))
					return err
				})
			})
		},
	},
	{
		service: "sqlite",
		locked:  "hits.db: database is locked",
		// The bytes of which each connection has one, for as long as it is open: SHARED_FIRST and SHARED_SIZE in os.h.
		lock: func(f *os.File) error {
			return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW,
				&unix.Flock_t{Type: unix.F_WRLCK, Start: 0x40000002, Len: 510})
		},
		read: func(path string, hits map[string]int) error {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				return err
			}
			defer db.Close()
			rows, err := db.Query("SELECT name, n FROM hits")
			for err == nil && rows.Next() {
				var name string
				var n int
				err = rows.Scan(&name, &n)
				hits[name] = n
			}
			if err != nil {
				return err
			}
			return rows.Err()
		},
	},
}

// bed is a service under load.
type bed struct {
	*flow.Node
	t       *testing.T
	db      database
	control drain.Client
	load    draintest.Load

	mu    sync.Mutex // guards what follows
	acked map[string]int
	worst time.Duration // a client has waited for an answer, beside what its own handler had to do
}

func newBed(t *testing.T, db database, clients int, flags ...string) *bed {
	t.Helper()
	b := &bed{t: t, db: db, acked: map[string]int{}}
	b.Node = flow.NewNode(t, flow.Host()+":8080", flow.Build(t, db.service, "v1", ""), "-probation", "1ms")
	b.Flags = append(append(b.Flags, "-db", b.Path("hits.db")), flags...)
	b.control = drain.Client{Socket: b.Path("control")}
	b.Control("start")
	b.load = draintest.Load{
		Client: draintest.Client{Addr: b.Addr, Timeout: flow.Patience, Blind: true},
		Keep:   clients,
		Think:  func(draintest.Result) time.Duration { return rand.N(40 * time.Millisecond) },
		Ask:    b.hit,
	}
	b.load.Start(context.Background())
	t.Cleanup(func() { b.load.Stop() })
	b.settle()
	return b
}

// hit counts one that no other request does. Of 50 handlers one is slow.
func (b *bed) hit(c *draintest.Client, client, n int) (draintest.Answer, error) {
	var d time.Duration
	if rand.N(50) == 0 {
		d = 100*time.Millisecond + rand.N(200*time.Millisecond)
	}
	name, begun := fmt.Sprintf("%d-%d", client, n), time.Now()
	a, err := c.Do("POST", fmt.Sprintf("/hits/%s?d=%v", name, d), nil)
	took := time.Since(begun) - d
	b.mu.Lock()
	defer b.mu.Unlock()
	b.worst = max(b.worst, took)
	if err == nil {
		b.acked[name]++
	}
	return a, err
}

func (b *bed) settle() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), flow.Patience)
	defer cancel()
	if err := b.load.Settle(ctx); err != nil {
		b.t.Fatal(err)
	}
}

// swap returns when the next generation serves, or why it does not.
func (b *bed) swap() error {
	b.t.Helper()
	flow.Eventually(b.t, "room for one more generation", func() bool { return len(b.Status().Older) <= 2 })
	return b.control.Swap(context.Background())
}

// wait returns how long a client has waited since the last call.
func (b *bed) wait() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.worst = 0 }()
	return b.worst
}

// finish ends the load and the service, and wants what was acknowledged to be there, once. Of the others there is one
// or none, and of them there are none unless a generation was killed.
func (b *bed) finish(killed bool) {
	b.t.Helper()
	counts := b.load.Stop()
	b.t.Logf("%v", counts)
	if !killed && len(counts.Failed)+counts.Reconnects > 0 {
		b.t.Errorf("%v; want 0 failed, 0 reconnects", counts)
	}
	if err := b.control.Stop(context.Background()); err != nil {
		b.t.Error(err)
	}
	there := map[string]int{}
	if err := b.db.read(b.Path("hits.db"), there); err != nil {
		b.t.Fatal(err)
	}
	lost, twice, more := 0, 0, 0
	for name, n := range there {
		switch {
		case n != 1:
			twice++
		case b.acked[name] == 0:
			more++
		}
	}
	for name := range b.acked {
		if there[name] == 0 {
			lost++
		}
	}
	b.t.Logf("%d acknowledged: %d lost, %d twice; %d are there of %d that failed", len(b.acked), lost, twice, more,
		len(counts.Failed))
	if lost > 0 || twice > 0 || more > len(counts.Failed) {
		b.t.Error("want what was acknowledged, once")
	}
}

// What was acknowledged is there after ten swaps, or BATON_SWAPS, and a stop.
func TestDatabaseThroughSwaps(t *testing.T) {
	swaps, _ := strconv.Atoi(cmp.Or(os.Getenv("BATON_SWAPS"), "10"))
	for _, db := range databases {
		t.Run(db.service, func(t *testing.T) {
			// Each hit waits for the disk, one after the other: on a busy one, more than Config.PauseMax in all.
			b := newBed(t, db, 64, "-pause-max", flow.Patience.String())
			var waits, rest []time.Duration
			for b.wait(); len(waits) < swaps; {
				b.settle()
				rest = append(rest, b.wait())
				if err := b.swap(); err != nil {
					t.Fatal(err)
				}
				b.settle()
				waits = append(waits, b.wait())
			}
			b.finish(false)
			t.Logf("%d swaps: the longest wait of a client in each: %s; without a swap: %s",
				swaps, spread(waits), spread(rest))
			for _, what := range []string{"paused", "handlers", "release", "acquire"} {
				t.Logf("%s: %s", what, spread(b.took(what)))
			}
		})
	}
}

// took is what each swap has logged of that.
func (b *bed) took(what string) (all []time.Duration) {
	log, _ := os.ReadFile(b.Path("log"))
	for _, m := range regexp.MustCompile(` swapped .* `+what+`=(\S+)`).FindAllSubmatch(log, -1) {
		d, err := time.ParseDuration(string(m[1]))
		if err != nil {
			b.t.Error(err)
		}
		all = append(all, d)
	}
	return all
}

func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	return fmt.Sprintf("%.1f ms (worst %.1f)", ms(all[len(all)/2]), ms(all[len(all)-1]))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Whatever goes wrong between Release and Acquire, what was acknowledged is there, and the service goes on.
//
// A stranger gets the lock in the moment in which the old generation has closed the database, and so stops the new one
// in Acquire.
func TestDatabaseOfASwapThatFails(t *testing.T) {
	for _, db := range databases {
		for _, x := range []struct {
			name     string
			stranger bool
			kill     string // "", "old" or "new"
		}{
			{"a stranger has the lock", true, ""},
			{"kill -9 of the new generation in Acquire", true, "new"},
			{"kill -9 of the old generation after it has closed", true, "old"},
			{"kill -9 of the old generation before it closes", false, "old"},
		} {
			t.Run(db.service+"/"+x.name, func(t *testing.T) {
				t.Parallel()
				b := newBed(t, db, 8)
				locked := make(<-chan func())
				if x.stranger {
					locked = b.stranger()
				}
				old, swapped, free := b.swapUntil(locked, x.stranger)
				child := 0
				if x.kill != "old" { // to look for it takes longer than the new generation waits for the lock
					child = slices.Max(slices.DeleteFunc(append(flow.Running(b.Dir+"/"), 0),
						func(pid int) bool { return pid == old }))
				}
				switch {
				case x.kill == "old":
					_ = syscall.Kill(old, syscall.SIGKILL)
				case child == 0: // it was slower to be found than to give up
				case x.kill == "new":
					_ = syscall.Kill(child, syscall.SIGKILL)
				}
				if x.kill != "old" {
					flow.Eventually(t, "the new generation is gone", func() bool { return !flow.Alive(child) })
				}
				free()
				err := <-swapped
				if t.Log(err); err == nil || x.kill == "" && !strings.Contains(err.Error(), db.locked) {
					t.Errorf("the swap: %v; want it to fail, for %q where a stranger has the lock", err, db.locked)
				}
				if x.kill == "old" {
					flow.Eventually(t, "the new generation serves", func() bool {
						st, err := b.control.Status(context.Background())
						return err == nil && st.PID != old && st.Phase == drain.Ready
					})
				}
				b.settle()
				if err := b.swap(); err != nil {
					t.Error(err)
				}
				b.settle()
				b.finish(x.kill == "old")
			})
		}
	}
}

// swapUntil swaps until the old generation is held up on the way: after it has closed the database, by a stranger who
// gets the lock before the new one does, or before, by being halted when the new one is there.
func (b *bed) swapUntil(locked <-chan func(), stranger bool) (old int, swapped chan error, free func()) {
	b.t.Helper()
	for {
		flow.Eventually(b.t, "no older generation is there", func() bool { return len(b.Status().Older) == 0 })
		old, swapped = b.Status().PID, make(chan error, 1)
		go func() { swapped <- b.control.Swap(context.Background()) }()
		if !stranger {
			for children := ""; children == "" && len(swapped) == 0; {
				children = b.children(old)
			}
			if b.halt(old) {
				return old, swapped, func() {}
			}
			_ = syscall.Kill(old, syscall.SIGCONT)
		}
		select {
		case free = <-locked:
			return old, swapped, free
		case err := <-swapped: // the new generation was faster
			if err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// children are those of a generation that live.
func (b *bed) children(pid int) (pids string) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, of := range threads {
		some, _ := os.ReadFile(of)
		pids += string(some)
	}
	return pids
}

// halt halts a generation, and tells whether it has the database open. One that is gone has not.
func (b *bed) halt(pid int) (open bool) {
	b.t.Helper()
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	flow.Eventually(b.t, "it is halted, or gone", func() bool {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return strings.Contains(string(text), ") T ") || !flow.Alive(pid)
	})
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return slices.ContainsFunc(fds, func(fd string) bool {
		path, _ := os.Readlink(fd)
		return path == b.Path("hits.db")
	})
}

// stranger waits for the lock, and sends what frees it.
func (b *bed) stranger() <-chan func() {
	b.t.Helper()
	f, err := os.OpenFile(b.Path("hits.db"), os.O_RDWR, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = f.Close() })
	locked := make(chan func(), 1)
	go func() {
		var err error
		for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
			err = b.db.lock(f)
		}
		if err != nil {
			b.t.Error(err)
		}
		locked <- func() { _ = f.Close() }
	}()
	return locked
}
