package listener

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/place"
)

// An address that is in use is held by a process, which the error names, whichever way the address is spelled.
func TestHolderIsNamed(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	defer func(d time.Duration) { place.HolderTime = d }(place.HolderTime)
	place.HolderTime = time.Minute // the search, not how long a busy machine takes for it
	for _, x := range []struct {
		network, address string
		asks             []string
	}{
		{"tcp", "127.0.0.1:0", []string{"tcp 127.0.0.1:N", "tcp4 localhost:N", "tcp :N"}},
		{"tcp", ":0", []string{"tcp :N", "tcp 127.0.0.1:N", "tcp4 :N"}},
		{"tcp", "[::1]:0", []string{"tcp [::1]:N", "tcp6 :N"}},
		{"udp", "127.0.0.1:0", []string{"udp 127.0.0.1:N", "udp :N"}},
		{"unix", filepath.Join(dir, "a socket"), []string{"unix a socket", "unix " + filepath.Join(dir, "a socket")}},
		{"unix", "@held", []string{"unix @held"}},
		{"unixgram", "d", []string{"unixgram " + filepath.Join(dir, "d")}},
	} {
		t.Run(x.network+" "+x.address, func(t *testing.T) {
			in, addr := inheritance(t, x.network, x.address)
			cmd := exec.Command("sleep", "1000")
			f := duplicate(in.FD, "held")
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
			if err := cmd.Start(); err != nil {
				t.Skip(err)
			}
			_ = f.Close()
			defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
			want := fmt.Sprintf("process %d (sleep)", cmd.Process.Pid)
			for _, ask := range x.asks {
				network, address, _ := strings.Cut(ask, " ")
				if ap, err := netip.ParseAddrPort(addr.String()); err == nil {
					address = strings.ReplaceAll(address, "N", fmt.Sprint(ap.Port()))
				}
				_, err := in.is(t, New(Config{}), network, address)
				if err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), want) ||
					!strings.Contains(err.Error(), "this process itself") {
					t.Errorf("%s: %v; want %s, and this process", ask, err, want)
				}
			}
		})
	}
	if _, err := os.Stat("/proc/self/net/tcp"); err == nil && place.Holder("tcp", "127.0.0.1:1") != "" {
		t.Error("somebody holds an address that nobody has")
	}
	place.HolderTime = 0 // on a busy machine
	mine, err := net.Listen("unix", "mine")
	check(t, err)
	defer mine.Close()
	if got := place.Holder("unix", "mine"); got != place.Self {
		t.Errorf("%q holds the address of this process", got)
	}
}
