//go:build unix

package place

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func wantedAt(t *testing.T, network, address string) Place {
	t.Helper()
	p, err := Wanted(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Spellings of one address are the same place; places on one port overlap if a client can reach both.
func TestPlacesAreCompared(t *testing.T) {
	for _, x := range []struct {
		network, p, q string
		is, overlaps  bool
	}{
		{"tcp", "127.0.0.1:80", "127.0.0.1:80", true, true},
		{"tcp", "127.0.0.1:80", "[::ffff:127.0.0.1]:80", true, true},
		{"tcp", "0.0.0.0:80", "127.0.0.1:80", false, true},
		{"tcp", ":80", "127.0.0.1:80", false, true},
		{"tcp4", "127.0.0.1:80", "127.0.0.2:80", false, false},
		{"udp", "127.0.0.1:80", "127.0.0.1:81", false, false},
		{"tcp", "127.0.0.1:0", "127.0.0.1:0", false, false}, // any port is the same as no other
		{"unix", "/run/../run/x", "/run/x", true, false},
		{"unix", "@x", "x", false, false},
	} {
		p, q := wantedAt(t, x.network, x.p), wantedAt(t, x.network, x.q)
		if p.Is(q) != x.is || q.Is(p) != x.is || p.Overlaps(q) != x.overlaps || q.Overlaps(p) != x.overlaps {
			t.Errorf("%s %s and %s: the same %v, overlap %v", x.network, x.p, x.q, p.Is(q), p.Overlaps(q))
		}
	}
}

// Where no address is named, all addresses of one family will do; one address will not.
func TestWhatServes(t *testing.T) {
	all := Place{Network: "tcp", Addr: netip.MustParseAddrPort("[::]:80"), Both: true}
	four, one := wantedAt(t, "tcp4", ":80"), wantedAt(t, "tcp", "127.0.0.1:80")
	if !four.Serves("tcp", all) || four.Serves("tcp6", all) || one.Serves("tcp", all) || !one.Serves("tcp", one) {
		t.Errorf("%+v, %+v, %+v", all, four, one)
	}
}

// A socket is at the place that its address was wanted for.
func TestOfSocket(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if p := OfSocket(ln.(*net.TCPListener), ln.Addr()); !p.Is(wantedAt(t, "tcp", ln.Addr().String())) {
		t.Errorf("%+v", p)
	}
}

// Another name of a file is the same path.
func TestSamePathByTheFile(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.WriteFile(a, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if SamePath(a, b) {
		t.Error("one is not there")
	}
	if err := os.Symlink(a, b); err != nil {
		t.Fatal(err)
	}
	if !SamePath(a, b) {
		t.Error("a link to it is another path")
	}
}
