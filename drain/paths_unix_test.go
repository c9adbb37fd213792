//go:build unix

package drain_test

import (
	"net/netip"
	"testing"
)

// The paths, the status and the networks are those of the configuration, in each generation. A path that is none is the
// program's own.
func TestProbesAreAnsweredAsConfigured(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]plan{
		"defaults":     {},
		"other":        {PingPath: "/up", LivePath: "/alive", PingStatus: 503},
		"no live path": {LivePath: "-"},
		"no ping path": {PingPath: "-"},
		"neither":      {PingPath: "-", LivePath: "-"},
	} {
		t.Run(name, func(t *testing.T) {
			ping, live := or(p.PingPath, "/ping"), or(p.LivePath, "/livez")
			failing := 501
			if p.PingStatus != 0 {
				failing = p.PingStatus
			}
			p.Probers = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			s := start(t, p)
			want := func(pinged int) {
				t.Helper()
				for path, status := range map[string]int{ping: pinged, live: 200, "/ping": 404, "/livez": 404} {
					switch {
					case path == "-", status == 404 && (path == ping || path == live):
						continue
					}
					if a := s.get(path); a.status != status {
						t.Errorf("%s is answered %d, want %d", path, a.status, status)
					}
				}
			}
			want(200)
			s.swap()
			want(200)
			s.do("pull")
			want(failing)
			if st := s.status(); len(st.Probers) > 0 {
				t.Errorf("probers from elsewhere than Config.Probers count: %v", st.Probers)
			}
			s.do("restore")
			want(200)
			s.stop()
		})
	}
}
