//go:build linux

package flow

import (
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a network that this process can reach into.
type Namespace struct{ file *os.File }

// OpenNamespace opens the network namespace of that name, as ip netns knows it.
func OpenNamespace(t testing.TB, name string) *Namespace {
	t.Helper()
	f, err := os.Open("/run/netns/" + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &Namespace{f}
}

// In calls do on a thread that is in the namespace. A socket stays where it was made.
func (n *Namespace) In(do func() error) error {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err == nil {
		defer own.Close()
		err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = do()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return back // and the thread, still locked, ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// Dial connects from inside. An address needs no resolver, and so no other thread.
func (n *Namespace) Dial(addr string) (conn net.Conn, err error) {
	err = n.In(func() (err error) {
		conn, err = net.DialTimeout("tcp4", addr, Patience)
		return err
	})
	return conn, err
}
