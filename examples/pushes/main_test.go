//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) {
	flow.Race = true
	flow.Main(m)
}

// bed is the service, and where it keeps what it has when it is stopped.
type bed struct {
	*testing.T
	process            *flow.Process
	dir, addr, tlsAddr string
	service            drain.Client
}

func newBed(t *testing.T) *bed {
	t.Helper()
	host, dir := flow.Host(), flow.Dir(t)
	b := &bed{T: t, dir: dir, addr: host + ":8080", tlsAddr: host + ":8443"}
	b.service = drain.Client{Socket: filepath.Join(dir, "control")}
	cert, key, _ := flow.Certificate(t, host)
	cmd := exec.Command(flow.Build(t, "pushes", "v1", ""), "-addr", b.addr, "-tls-addr", b.tlsAddr,
		"-cert", cert, "-key", key, "-file", b.path("pushes"), "-help-dir", b.path("help"), "-probation", "100ms",
		"-control", b.service.Socket)
	cmd.Env = append(os.Environ(), "APP_PAUSE_MAX=1m") // however busy the machine is
	b.process = flow.Start(t, cmd)
	b.process.Answers(t, b.tlsAddr)
	return b
}

func (b *bed) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bed) status() drain.Status {
	b.Helper()
	st, err := b.service.Status(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return st
}

// swap swaps the service when no more than one older generation is left, as an operator would.
func (b *bed) swap() {
	b.Helper()
	flow.Eventually(b, "room for one more generation", func() bool { return len(b.status().Older) <= 1 })
	if err := b.service.Swap(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// stop returns when each generation is gone.
func (b *bed) stop() {
	b.Helper()
	if st := b.status(); st.Total.Lost > 0 || st.Total.FailedSwaps > 0 {
		b.Errorf("%+v, want nothing lost and no failed swap", st.Total)
	}
	if err := b.service.Stop(b.Context()); err != nil {
		b.Error(err)
	}
	<-b.process.Ended()
	if code := b.process.ProcessState.ExitCode(); code != 0 {
		b.Errorf("exit code %d; want 0", code)
	}
}

// said are the durations that lines of the log have under a key.
func (b *bed) said(line, key string) (all []time.Duration) {
	b.Helper()
	lines := regexp.MustCompile(` INFO ` + line + ` .*\b` + key + `=(\S+)`)
	for _, m := range lines.FindAllStringSubmatch(b.process.Output(), -1) {
		d, err := time.ParseDuration(m[1])
		if err != nil {
			b.Error(err)
		}
		all = append(all, d)
	}
	return all
}

// setting is a number from the environment, for longer runs.
func setting(t *testing.T, name string, number int) int {
	if text := os.Getenv(name); text != "" {
		var err error
		if number, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return number
}

// TestPushesAreThere: what was acknowledged is there after swaps and a stop, once each.
func TestPushesAreThere(t *testing.T) {
	b := newBed(t)
	c := newCrowd(b, 64)
	var waits []time.Duration
	for range setting(t, "BATON_SWAPS", 10) {
		begun := time.Now()
		b.swap()
		c.settle()
		waits = append(waits, c.longest(begun))
	}
	c.stopping.Store(true)
	b.stop()
	c.end()
	c.want(b.path("pushes"))
	if text, err := os.ReadFile(b.path("help/pushes")); err != nil || string(text) != c.text {
		t.Errorf("the text is %q, %v; want %q", text, err, c.text)
	}
	t.Logf("%d pushes acknowledged in %d swaps and a stop, %d failed", c.acknowledged(), len(waits), len(c.failed))
	t.Logf("longest wait of a client in a swap: %s", spread(waits))
	t.Logf("Release: %s; Acquire: %s; handlers before: %s; the pause in all: %s",
		spread(b.said("released", "took")), spread(b.said("acquired", "took")[1:]),
		spread(b.said("swapped", "handlers")), spread(b.said("swapped", "paused")))
}

// TestLargeState: a swap carries any size. For the figures of README.md BATON_STATE is 200.
func TestLargeState(t *testing.T) {
	b := newBed(t)
	const size = 1 << 20
	for i := range setting(t, "BATON_STATE", 4) {
		b.fill(i, size)
	}
	b.swap() // what a generation has itself acquired is the measure, not what pushing it has left to collect
	c := newCrowd(b, 64)
	use := b.measure(b.status().PID, b.swap)
	c.settle()
	wait := c.longest(use.begun)
	c.stopping.Store(true)
	b.stop()
	c.end()
	c.want(b.path("pushes"))
	file, err := os.Stat(b.path("pushes"))
	if err != nil {
		t.Fatal(err)
	}
	released, acquired := b.said("released", "took"), b.said("acquired", "took")
	t.Logf("%d MB: Release %v, Acquire %v, longest wait of a client %v; the last Release, into the file, %v",
		file.Size()>>20, released[1].Round(time.Millisecond), acquired[2].Round(time.Millisecond),
		wait.Round(time.Millisecond), released[2].Round(time.Millisecond))
	t.Logf("resident: %v; and the state between them", use)
	t.Logf("%d pushes acknowledged, %d failed", c.acknowledged(), len(c.failed))
}

func spread(all []time.Duration) string {
	slices.Sort(all)
	round := 100 * time.Microsecond
	return fmt.Sprintf("median %v, worst %v", all[len(all)/2].Round(round), all[len(all)-1].Round(round))
}

// memory is what both processes use in a swap, in MB.
type memory struct {
	begun    time.Time
	before   int // the old one's, before
	old, new int // the most
	both     int // the most at once
}

func (m memory) String() string {
	return fmt.Sprintf("before %d MB; at most the old process %d MB, the new one %d MB, both at once %d MB",
		m.before, m.old, m.new, m.both)
}

func (b *bed) measure(pid int, f func()) memory {
	b.Helper()
	m := memory{begun: time.Now(), before: resident(pid)}
	ctx, cancel := context.WithCancel(b.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		for ctx.Err() == nil {
			sum := 0
			for _, p := range flow.Running(b.process.Path) {
				if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p)); !strings.Contains(string(args), b.dir) {
					continue // of another test
				}
				r := resident(p)
				sum += r
				if p == pid {
					m.old = max(m.old, r)
				} else {
					m.new = max(m.new, r)
				}
			}
			m.both = max(m.both, sum)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	f()
	cancel()
	<-over
	return m
}

// resident is in MB; 0 of one that is gone.
func resident(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kb int
	_, _ = fmt.Sscan(rest, &kb)
	return kb >> 10
}
