package keeper

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/sdnotify"
)

// Hear has the keeper say which of these signals it forwards, instead of sending them, and sends them to this process
// itself where counts says that they count. Known is called when the keeper knows that. Hear returns when ended is
// closed, or at once where an older keeper sends the signals still: it closes its end.
func Hear(signals []os.Signal, ended <-chan struct{}, counts func(os.Signal, time.Time) bool, known func()) {
	known = sync.OnceFunc(known)
	defer known()
	if !sdnotify.Kept() || len(signals) == 0 {
		return
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return // it sends them
	}
	near, far := os.NewFile(uintptr(ends[0]), "keeper"), os.NewFile(uintptr(ends[1]), "keeper")
	defer near.Close()
	numbers := make([]string, len(signals))
	for i, sig := range signals {
		numbers[i] = strconv.Itoa(int(sig.(syscall.Signal)))
	}
	err = sdnotify.TellKeeper(sdnotify.KeeperSignals+strings.Join(numbers, ","), far)
	_ = far.Close()
	if err != nil {
		return
	}
	go func() { <-ended; _ = near.Close() }()
	for n := make([]byte, 1); ; {
		if _, err := near.Read(n); err != nil {
			return
		}
		known() // the first is no signal
		if sig := syscall.Signal(n[0]); sig != 0 && counts(sig, time.Now()) {
			_ = unix.Kill(os.Getpid(), sig)
		}
	}
}

// line is how a generation hears which signals the keeper forwards.
type line struct {
	pid, fd int
	signals []string
}

// hears keeps the line of a generation, and forgets those that are closed.
func (k *keeper) hears(l line) {
	for pid, old := range k.lines {
		poll := []unix.PollFd{{Fd: int32(old.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 0); pid == l.pid || err == nil && n > 0 {
			_ = unix.Close(old.fd)
			delete(k.lines, pid)
		}
	}
	k.lines[l.pid] = l
	_ = unix.Send(l.fd, []byte{0}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// say tells a generation that it gets a signal, and whether it hears that.
func (k *keeper) say(g *generation, sig os.Signal) bool {
	l, ok := k.lines[g.pid]
	n := sig.(syscall.Signal)
	return ok && slices.Contains(l.signals, strconv.Itoa(int(n))) &&
		unix.Send(l.fd, []byte{byte(n)}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) == nil
}
