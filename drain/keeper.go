package drain

import (
	"flag"
	"fmt"
	"os"
	"runtime"

	"github.com/baton-go/baton/drain/internal/keeper"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/proc"
	"github.com/baton-go/baton/drain/internal/sdnotify"
)

// KeeperMode says where a keeper stays in front of the generations.
type KeeperMode int

const (
	// KeeperAuto has a keeper wherever the end of this process may be taken for the end of the service, on Linux. It
	// has none in a test binary of Go, under a debugger, and where systemd has started the process itself and hears of
	// the next ones (NOTIFY_SOCKET). PID 1 has one also where systemd hears.
	KeeperAuto KeeperMode = iota
	// KeeperAlways has a keeper. Linux only; elsewhere New returns an error.
	KeeperAlways
	// KeeperNever has no keeper, and so one process less. It is for a service that is never swapped, or for whose end
	// no parent waits. As PID 1, and where systemd hears of no other process, swaps are refused.
	KeeperNever
)

// String returns "auto", "always" or "never".
func (m KeeperMode) String() string {
	names := []string{KeeperAuto: "auto", KeeperAlways: "always", KeeperNever: "never"}
	if m < 0 || int(m) >= len(names) {
		return fmt.Sprintf("KeeperMode(%d)", int(m))
	}
	return names[m]
}

// wanted tells whether this process is to become the keeper, where no other one has started it to take over.
func (m KeeperMode) wanted() bool {
	if keeper.Has() || m == KeeperNever {
		return false
	}
	return m == KeeperAlways || start{
		linux: runtime.GOOS == "linux", first: os.Getpid() == 1, told: sdnotify.Told(),
		test: flag.Lookup("test.v") != nil, traced: proc.Traced(),
	}.waited()
}

// start is what is known of how this process was started.
type start struct {
	linux        bool
	first        bool // it is PID 1
	told         bool // its parent hears which process is the service
	test, traced bool // this very process is meant
}

// waited tells whether the end of this process may be taken for the end of the service. Whether the parent waits for it
// can't be found out, and most do.
func (s start) waited() bool {
	return s.linux && !s.test && !s.traced && (s.first || !s.told)
}

// watchKeeper tells the keeper that signals are handled here, hears of those that it forwards, and tells when it is
// gone. Then far is closed.
func watchKeeper(far *os.File, in inbox, signals *signals, first bool) {
	if far == nil {
		return
	}
	go keeper.Hear(signals.sets.all(), in.ended, signals.forwarded, func() {
		if first {
			_, _ = far.Write([]byte{1})
		}
	})
	_, _ = far.Read(make([]byte, 1))
	in.post(machine.KeeperGone{})
}
