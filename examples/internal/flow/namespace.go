//go:build linux

package flow

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a network that this process can reach into.
type Namespace struct{ file *os.File }

// Network has an example's net.sh make the namespaces whose names begin with
// name, until the end of the test. It returns that of the client.
func Network(t testing.TB, script, name string, env ...string) (client *Namespace) {
	t.Helper()
	run := func(verb string) {
		t.Helper()
		cmd := exec.Command("dash", script, verb)
		cmd.Env = append(append(os.Environ(), env...), "NET="+name)
		if said, code := Run(t, cmd); code != 0 {
			t.Fatalf("net.sh %s: exit code %d\n%s", verb, code, said)
		}
	}
	t.Cleanup(func() { run("down") })
	run("up")
	return OpenNamespace(t, "/run/netns/"+name+"-client")
}

// OpenNamespace opens a network namespace by its file: /run/netns/name for one
// that ip netns knows, /proc/pid/ns/net for that of a process.
func OpenNamespace(t testing.TB, path string) *Namespace {
	t.Helper()
	f, err := os.Open(path)
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
