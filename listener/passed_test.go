//go:build unix

package listener

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shelf is a Store within the process.
type shelf struct {
	did   []string
	fails error
}

func (s *shelf) Put(name string, socket syscall.Conn) error {
	s.did = append(s.did, "put "+name)
	if f := dup(socket); f == nil || f.Close() != nil {
		return errors.New("no descriptor")
	}
	return s.fails
}

func (s *shelf) Remove(name string) error {
	s.did = append(s.did, "remove "+name)
	return s.fails
}

// give is what is passed of a listener or packet socket, under a name; the original is closed.
func give(t testing.TB, name string, socket any) *os.File {
	t.Helper()
	f := dup(socket.(syscall.Conn))
	if u, ok := socket.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	_ = socket.(interface{ Close() error }).Close()
	return rename(t, f, name)
}

// rename closes f and returns a copy with another name.
func rename(t testing.TB, f *os.File, name string) *os.File {
	t.Helper()
	defer f.Close()
	nfd, err := syscall.Dup(int(f.Fd()))
	check(t, err)
	return os.NewFile(uintptr(nfd), name)
}

func mustOpen(t testing.TB, network, address string) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // whose sockets take no filter
	ln, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		if network == "tcp6" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func TestPassedByAddress(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, x := range []struct {
		network, address string   // of the socket; port 0 is replaced in what is asked for
		yes, no          []string // network address
	}{
		{"tcp4", "127.0.0.1:0",
			[]string{"tcp 127.0.0.1:0", "tcp4 127.0.0.1:0", "tcp localhost:0", "tcp [::ffff:127.0.0.1]:0"},
			[]string{"tcp6 127.0.0.1:0", "tcp :0", "tcp 127.0.0.2:0", "tcp 127.0.0.1:1", "tcp nonsense",
				"tcp 127.0.0.1:nonsense", "unix 127.0.0.1:0", "udp 127.0.0.1:0"}},
		{"tcp4", "0.0.0.0:0",
			[]string{"tcp :0", "tcp 0.0.0.0:0", "tcp [::]:0", "tcp4 :0", "tcp4 0.0.0.0:0"},
			[]string{"tcp6 :0", "tcp6 [::]:0", "tcp 127.0.0.1:0"}},
		{"tcp", ":0",
			[]string{"tcp :0", "tcp 0.0.0.0:0", "tcp [::]:0", "tcp6 :0", "tcp6 [::]:0"},
			[]string{"tcp4 :0", "tcp [::1]:0", "udp :0"}},
		{"tcp6", "[::1]:0",
			[]string{"tcp [::1]:0", "tcp6 [::1]:0"},
			[]string{"tcp :0", "tcp 127.0.0.1:0", "tcp4 127.0.0.1:0"}},
		{"unix", filepath.Join(dir, "s"),
			[]string{"unix " + filepath.Join(dir, "s"), "unix s", "unix ./s"},
			[]string{"unix t", "tcp s:80"}},
		{"unix", "@baton test",
			[]string{"unix @baton test"},
			[]string{"unix @baton", "unix baton test"}},
	} {
		t.Run(x.network+" "+x.address, func(t *testing.T) {
			ln := mustOpen(t, x.network, x.address)
			port := ""
			if a, ok := ln.Addr().(*net.TCPAddr); ok {
				port = fmt.Sprint(a.Port)
			}
			p := newInheritedSocket(give(t, "any", ln))
			defer p.close()
			for _, list := range [][]string{x.yes, x.no} {
				for _, ask := range list {
					network, address, _ := strings.Cut(ask, " ")
					if port != "" && strings.HasSuffix(address, ":0") {
						address = strings.TrimSuffix(address, "0") + port
					}
					if got, want := p.bound(network, address), slices.Contains(x.yes, ask); got != want {
						t.Errorf("%s for %s %s: %v", p, network, address, got)
					}
				}
			}
			if port != "" && p.bound("tcp", strings.TrimSuffix(ln.Addr().String(), port)+"0") {
				t.Error("any free port is not the one that is passed")
			}
		})
	}
}

// What is passed under the name of the store comes before what is bound to the address, and a name of a socket unit is
// for listeners and packet sockets apart.
func TestPassedByName(t *testing.T) {
	near := mustOpen(t, "tcp", "127.0.0.1:0")
	far := mustOpen(t, "tcp", "127.0.0.1:0")
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	check(t, err)
	address, udp := near.Addr().String(), pc.LocalAddr().String()
	set := New(Config{})
	defer set.Close()
	set.Manage(nil, nil, []*os.File{give(t, "dns", near), give(t, storeName("tcp "+address), far), give(t, "dns", pc)})
	if ln := mustListen(t, set, "tcp", address); ln.Addr().String() != far.Addr().String() {
		t.Errorf("listens on %v; want %v", ln.Addr(), far.Addr())
	}
	if ln := mustListen(t, set, "fd", "dns"); ln.Addr().String() != address {
		t.Errorf("listens on %v; want %s", ln.Addr(), address)
	}
	got, err := set.ListenPacket("fd", "dns")
	if err != nil || got.LocalAddr().String() != udp {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := set.ListenPacket("fd", "ntp"); err == nil || !strings.Contains(err.Error(), "(passed: none)") {
		t.Error(err)
	}
	want := map[string]string{"tcp " + address: storeName("tcp " + address), "fd dns": "dns"}
	if held := set.Held(); !maps.Equal(held, want) {
		t.Errorf("held: %v; want %v", held, want)
	}
}

// Whatever is passed, there is an error that names it, or nothing happens. Every descriptor is closed.
func TestPassedGarbage(t *testing.T) {
	before := descriptors(t)
	set := New(Config{})
	cl, conn := pair(t)
	files := garbage(t)
	files[len(files)-1] = give(t, "connection", conn) // in place of the closed one
	for i, f := range files {
		files[i] = rename(t, f, fmt.Sprint(i))
	}
	set.Manage(nil, nil, files)
	_, err := set.Listen("fd", "5")
	for i := range files {
		if want := fmt.Sprintf("%d (", i); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if _, err := set.Listen("fd", fmt.Sprint(len(files)-1)); runtime.GOOS == "linux" && err == nil {
		t.Error("a connection is taken for a listener")
	}
	busy := mustOpen(t, "tcp", "127.0.0.1:0")
	if _, err := set.Listen("tcp", busy.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) ||
		!strings.Contains(err.Error(), "passed: 0 (") {
		t.Error(err)
	}
	_ = busy.Close()
	if unused, err := set.Keep(); err != nil || len(unused) == 0 {
		t.Errorf("%q, %v", unused, err)
	}
	set.Close()
	_ = cl.nc.Close()
	if now := descriptors(t); now > before {
		t.Errorf("%d descriptors; were %d", now, before)
	}
}

func TestStoreNames(t *testing.T) {
	seen := make(map[string]string)
	for _, key := range []string{
		"tcp :80", "tcp [::]:80", "tcp 0.0.0.0:80", "unix /run/a b", "unix /run/a+b", "unix /run/a%2Bb",
		"unix /run/a:b", "unix /run/ä\n",
		"unix @" + strings.Repeat("/", 107), "tcp " + strings.Repeat("a", 300) + ":80", "tcp " +
			strings.Repeat("a", 301) + ":80",
	} {
		name := storeName(key)
		wrong := func(r rune) bool { return r <= ' ' || r >= 127 || r == ':' }
		if len(name) > 255 || strings.ContainsFunc(name, wrong) {
			t.Errorf("%q is no FDNAME", name)
		}
		if seen[name] != "" {
			t.Errorf("%q is the name of %q and %q", name, seen[name], key)
		}
		seen[name] = key
	}
}

func TestKeep(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	old := mustOpen(t, "unix", path)
	stays := mustOpen(t, "unix", filepath.Join(dir, "unit"))
	twice := mustOpen(t, "tcp", "127.0.0.1:0")
	key := "tcp " + twice.Addr().String()
	again := mustOpen(t, "tcp", "127.0.0.1:0")
	set, store := New(Config{}), &shelf{}
	defer set.Close()
	set.Manage(store, nil, []*os.File{
		give(t, storeName("unix "+path), old), give(t, "app.socket", stays),
		give(t, storeName(key), twice), give(t, storeName(key), again),
	})
	mustListen(t, set, "tcp", "127.0.0.1:0")
	mustListen(t, set, "tcp", strings.TrimPrefix(key, "tcp "))
	if unused, err := set.Keep(); err != nil || len(unused) != 3 {
		t.Errorf("%q, %v", unused, err)
	}
	want := []string{"remove " + storeName(key), "remove " + storeName("unix "+path), "put " + storeName(key),
		"put " + storeName("tcp 127.0.0.1:0")}
	slices.Sort(want)
	if slices.Sort(store.did); !slices.Equal(store.did, want) {
		t.Errorf("%q; want %q", store.did, want)
	}
	if isSocket(path) || !isSocket(filepath.Join(dir, "unit")) {
		t.Error("the stored socket's file is to go with it, the socket unit's is to stay")
	}
	if held := set.Held(); len(held) != 2 || held[key] != storeName(key) {
		t.Errorf("held: %v", held)
	}
}

// What could not be stored is no more than that, and one that takes no messages is not waited for again and again.
func TestKeepFails(t *testing.T) {
	for _, x := range []struct {
		err error
		did int
	}{{errors.New("no"), 2}, {os.ErrDeadlineExceeded, 1}} {
		set, store := New(Config{}), &shelf{fails: x.err}
		set.Manage(store, nil, nil)
		mustListen(t, set, "tcp", "127.0.0.1:0")
		mustListen(t, set, "tcp", "localhost:0")
		if _, err := set.Keep(); !errors.Is(err, x.err) || len(store.did) != x.did || len(set.Held()) != 0 {
			t.Errorf("%v, %q, %v", err, store.did, set.Held())
		}
		set.Close()
	}
}

// A socket that others hold takes handshakes until it is closed, and after.
func TestHeldSocketsAreNotDeaf(t *testing.T) {
	defer func(was time.Duration) { handshakeTime = was }(handshakeTime)
	handshakeTime = time.Hour // for which Leave would wait otherwise
	ln := mustOpen(t, "tcp", "127.0.0.1:0")
	address := ln.Addr().String()
	holder := dup(ln.(*net.TCPListener))
	defer holder.Close()
	set := New(Config{})
	set.Manage(nil, nil, []*os.File{give(t, "web", ln)})
	mustListen(t, set, "tcp", address)
	set.Open()
	left := make(chan error, 1)
	go func() { left <- set.Leave(context.Background(), nil, 0) }()
	select {
	case err := <-left:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the socket is held, and its handshakes are dropped")
	}
	wantHandshake(t, address)
}
