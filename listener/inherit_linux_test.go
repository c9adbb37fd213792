package listener

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/listener/internal/quirks"
	"golang.org/x/sys/unix"
)

// inheritance opens a socket as another process would, and tells of it as tableflip does; closed when the test ends.
func inheritance(t testing.TB, network, address string) (Inherited, net.Addr) {
	t.Helper()
	var sc syscall.Conn
	var addr net.Addr
	if strings.HasPrefix(network, "udp") || network == "unixgram" {
		pc, err := net.ListenPacket(network, address)
		check(t, err)
		t.Cleanup(func() {
			_ = pc.Close()
			if network == "unixgram" { // which leaves its file
				_ = os.Remove(address)
			}
		})
		sc, addr = pc.(syscall.Conn), pc.LocalAddr()
	} else {
		ln := mustOpen(t, network, address)
		t.Cleanup(func() { _ = ln.Close() })
		sc, addr = ln.(syscall.Conn), ln.Addr()
	}
	f := dup(sc)
	t.Cleanup(func() { _ = f.Close() })
	return Inherited{Network: network, Address: address, FD: int(f.Fd())}, addr
}

// same tells whether what ask makes the set listen on is the inherited socket.
func (in Inherited) is(t testing.TB, set *Set, network, address string) (same bool, err error) {
	t.Helper()
	var sc any
	if network == "udp" || strings.HasPrefix(network, "udp") || network == "unixgram" {
		sc, err = set.ListenPacket(network, address)
	} else {
		sc, err = set.Listen(network, address)
	}
	if err != nil {
		return false, err
	}
	rc, err := sc.(syscall.Conn).SyscallConn()
	check(t, err)
	_ = rc.Control(func(fd uintptr) { same = identify(int(fd)) == identify(in.FD) })
	return same, nil
}

// An inherited socket is found by what it is bound to, and no other is taken for it. N stands for the port.
func TestInheritedByAnySpelling(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := errors.Join(os.Symlink(dir, filepath.Join(dir, "link")), os.Symlink("s", filepath.Join(dir, "t")),
		os.Symlink("d", filepath.Join(dir, "e"))); err != nil {
		t.Fatal(err)
	}
	loopback6 := []string{"[::1]:N", "[0:0:0:0:0:0:0:1]:N", "[::1%lo]:N"}
	for _, x := range []struct {
		network, address string
		yes, no          []string
	}{
		{"tcp", ":0",
			[]string{"tcp :N", "tcp 0.0.0.0:N", "tcp [::]:N", "tcp [::0]:N", "tcp :0N", "tcp :0", "tcp 0.0.0.0:0",
				"tcp [::]:00"},
			[]string{"tcp4 :N", "tcp4 0.0.0.0:N", "tcp6 :N", "tcp6 [::]:N", "tcp 127.0.0.1:N", "tcp [::1]:N",
				"tcp 127.0.0.1:0", "tcp4 :0", "udp :N", "unix N"}},
		{"tcp4", ":0",
			[]string{"tcp4 :N", "tcp4 0.0.0.0:N", "tcp4 0.0.0.0:0"},
			[]string{"tcp :N", "tcp 0.0.0.0:N", "tcp [::]:N", "tcp6 :N", "tcp 127.0.0.1:N"}},
		{"tcp6", ":0",
			[]string{"tcp6 :N", "tcp6 [::]:N"},
			[]string{"tcp :N", "tcp4 :N", "tcp [::1]:N"}},
		{"tcp", "localhost:0",
			[]string{"tcp localhost:N", "tcp 127.0.0.1:N", "tcp4 127.0.0.1:N", "tcp4 localhost:N",
				"tcp [::ffff:127.0.0.1]:N", "tcp 127.0.0.1:0"},
			[]string{"tcp6 localhost:N", "tcp 127.0.0.2:N", "tcp :N", "tcp [::1]:N", "tcp 127.0.0.1:1",
				"tcp 127.0.0.1:nonsense", "tcp nonsense", "udp 127.0.0.1:N"}},
		{"tcp", "[::1]:0",
			append(prefixed("tcp ", loopback6), prefixed("tcp6 ", loopback6)...),
			[]string{"tcp 127.0.0.1:N", "tcp4 127.0.0.1:N", "tcp :N"}},
		{"udp", ":0",
			[]string{"udp :N", "udp 0.0.0.0:N", "udp [::]:N", "udp :0"},
			[]string{"udp4 :N", "udp6 :N", "udp 127.0.0.1:N", "tcp :N"}},
		{"udp4", "127.0.0.1:0",
			[]string{"udp 127.0.0.1:N", "udp4 localhost:N", "udp localhost:N"},
			[]string{"udp 127.0.0.2:N", "tcp 127.0.0.1:N", "udp6 [::1]:N"}},
		{"unix", filepath.Join(dir, "s"),
			[]string{"unix s", "unix ./s", "unix link/s", "unix link/../" + filepath.Base(dir) + "/s", "unix t"},
			[]string{"unix other", "unix @s", "unixgram s"}},
		{"unix", "s", []string{"unix " + filepath.Join(dir, "s"), "unix link/s"}, []string{"unix S"}},
		{"unix", "@baton inherit", []string{"unix @baton inherit"}, []string{"unix baton inherit", "unix @baton"}},
		{"unixgram", "d",
			[]string{"unixgram ./d", "unixgram link/d", "unixgram e", "unixgram " + filepath.Join(dir, "d")},
			[]string{"unixgram f", "unix d"}},
	} {
		for _, ask := range append(append([]string{x.network + " " + x.address}, x.yes...), x.no...) {
			t.Run(x.network+" "+x.address+" as "+ask, func(t *testing.T) {
				in, addr := inheritance(t, x.network, x.address)
				network, address, _ := strings.Cut(ask, " ")
				if _, port, err := net.SplitHostPort(addr.String()); err == nil {
					address = strings.ReplaceAll(address, "N", port)
				}
				set := New(Config{})
				defer set.Close()
				set.Inherit([]Inherited{in})
				same, err := in.is(t, set, network, address)
				if want := !slices.Contains(x.no, ask); same != want {
					t.Errorf("%s %s is %v: %v, %v", network, address, addr, same, err)
				}
				if err == nil && !same && len(set.inherited) != 1 {
					t.Error("it is not the inherited socket, which is gone")
				}
			})
		}
	}
}

func prefixed(prefix string, all []string) (out []string) {
	for _, s := range all {
		out = append(out, prefix+s)
	}
	return out
}

// A socket of the same name comes before one at the same place, in whichever order they are asked for.
func TestInheritedByNameFirst(t *testing.T) {
	a, _ := inheritance(t, "tcp", "127.0.0.1:0")
	b, _ := inheritance(t, "tcp4", "127.0.0.1:0")
	for _, order := range [][]Inherited{{a, b}, {b, a}} {
		set := New(Config{})
		defer set.Close()
		set.Inherit([]Inherited{a, b})
		for _, in := range order {
			if same, err := in.is(t, set, in.Network, in.Address); !same {
				t.Errorf("%+v: another socket, %v", in, err)
			}
		}
	}
}

// What the service manager holds keeps its name there, and a name of its own finds the socket that was asked
// for by address.
func TestInheritedAndHeld(t *testing.T) {
	in, addr := inheritance(t, "tcp", "127.0.0.1:0")
	key := in.Network + " " + in.Address
	for ask, name := range map[string]string{"tcp " + addr.String(): storeName(key), "fd http": "http"} {
		set := New(Config{})
		defer set.Close()
		set.Manage(nil, map[string]string{key: name}, nil)
		set.Inherit([]Inherited{in})
		network, address, _ := strings.Cut(ask, " ")
		same, err := in.is(t, set, network, address)
		if held := set.Held(); !same || len(held) != 1 || held[ask] != name {
			t.Errorf("%s: inherited: %v, %v; held: %v", ask, same, err, held)
		}
	}
	fd, fdAddr := inheritance(t, "tcp", "127.0.0.1:0")
	fd.Network, fd.Address = "fd", "http"
	set := New(Config{})
	defer set.Close()
	set.Inherit([]Inherited{fd})
	if same, err := fd.is(t, set, "tcp", fdAddr.String()); !same {
		t.Errorf("by its address: another socket, %v", err)
	}
}

// A descriptor that has been closed, or is another file by now, is nobody's socket.
func TestInheritedDescriptorThatIsGone(t *testing.T) {
	in, addr := inheritance(t, "tcp", "127.0.0.1:0")
	other, _ := inheritance(t, "tcp", "127.0.0.1:0")
	set := New(Config{})
	defer set.Close()
	set.Inherit([]Inherited{in, {"tcp", "127.0.0.1:1", -1}, {"tcp", "127.0.0.1:2", 1 << 20}})
	check(t, unix.Dup2(other.FD, in.FD))
	if same, err := in.is(t, set, "tcp", addr.String()); err == nil || same {
		t.Errorf("%v, %v; want that the address is in use", same, err)
	}
}

// The files of unix sockets that a new version does not want are removed when it is the one that counts, and no other.
func TestForsakenUnixSockets(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var all []Inherited
	for _, path := range []string{"a", "b", "c"} {
		in, _ := inheritance(t, "unix", path)
		all = append(all, in)
	}
	all[2].Network += quirks.Kept
	check(t, os.WriteFile("file", nil, 0o600))
	all = append(all, Inherited{"unix", "file", -1})
	set := New(Config{})
	defer set.Close()
	set.Inherit(all)
	if same, err := all[0].is(t, set, "unix", filepath.Join(dir, "a")); !same {
		t.Fatal(err)
	}
	if unused, err := set.Keep(); err != nil || unused != nil {
		t.Errorf("%v, %v", unused, err)
	}
	left, _ := filepath.Glob("*")
	if want := "[a file]"; fmt.Sprint(left) != want {
		t.Errorf("left: %v; want %s", left, want)
	}
}

// Nobody reaches an inherited unix socket whose file somebody has removed. A new one takes its place, and the process
// before this one learns of it. Where that can't be, nothing changes but for a warning.
func TestInheritedUnixSocketWithoutAFile(t *testing.T) {
	for name, x := range map[string]struct {
		network, held string
		spoil         func(path string) error
		same          bool
		warns         string
	}{
		"removed":                   {"unix", "", os.Remove, false, "has made it again"},
		"removed, and in the store": {"unix", "baton.s", os.Remove, false, "has made it again"},
		"removed, the manager's":    {"unix", "app.socket", os.Remove, true, ""},
		"removed, of a packet socket, whose clients are connected": {"unixgram", "", os.Remove, true, ""},
		"removed with its folder": {"unix", "", func(path string) error {
			return os.RemoveAll(filepath.Dir(path))
		}, true, "create the folder"},
		"another's": {"unix", "", func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600))
		}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(shortDir(t), "s")
			in, _ := inheritance(t, x.network, path)
			check(t, x.spoil(path))
			store, warned := &shelf{}, make(chan error, 1)
			set := New(Config{OnWarning: func(err error) { warned <- err }})
			defer set.Close()
			held := map[string]string{}
			if x.held != "" {
				held[in.key()] = x.held
			}
			set.Manage(store, held, nil)
			set.Inherit([]Inherited{in})
			same, err := in.is(t, set, x.network, path)
			check(t, err)
			if same != x.same || slices.Contains(set.Unclaimed(), in.key()) == x.same {
				t.Errorf("the same: %v; unclaimed: %q", same, set.Unclaimed())
			}
			if x.warns != "" {
				if err := <-warned; !strings.Contains(err.Error(), x.warns) || !strings.Contains(err.Error(), path) {
					t.Error(err)
				}
			}
			if same {
				return
			}
			set.Open()
			dialTo(t, &net.UnixAddr{Net: "unix", Name: path})
			_, err = set.Keep()
			check(t, err)
			want := []string{"put " + storeName(in.key())}
			if x.held != "" {
				want = append([]string{"remove " + x.held}, want...)
			}
			if !slices.Equal(store.did, want) || set.Held()[in.key()] != storeName(in.key()) || len(set.Held()) != 1 {
				t.Errorf("%q, want %q; held: %v", store.did, want, set.Held())
			}
			dialTo(t, &net.UnixAddr{Net: "unix", Name: path})
		})
	}
}
