//go:build unix

package drain_test

import (
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// What a shell has opened above the standard files, as in "3>file ./app", is in nobody's way, and not taken for the
// library's or a service manager's, whatever it is and however much of it.
func TestDescriptorsOfTheShell(t *testing.T) {
	t.Parallel()
	open := map[string]func(t *testing.T) *os.File{
		"a file":   func(t *testing.T) *os.File { return mustOpen(t, "/etc/passwd") },
		"a folder": func(t *testing.T) *os.File { return mustOpen(t, "/") },
		"a pipe": func(t *testing.T) *os.File {
			r, w, err := os.Pipe()
			must(t, err)
			t.Cleanup(func() { _ = w.Close() })
			return r
		},
		"a listening socket": func(t *testing.T) *os.File {
			ln := have(net.Listen("tcp", "127.0.0.1:0"))(t)
			defer ln.Close()
			f := have(ln.(*net.TCPListener).File())(t)
			return f
		},
	}
	for name, open := range open {
		for _, n := range []int{1, 2, 30} {
			t.Run(name, func(t *testing.T) {
				s := start(t, plan{}, func(_ *service, cmd *exec.Cmd) {
					f := open(t)
					t.Cleanup(func() { _ = f.Close() })
					for range n {
						cmd.ExtraFiles = append(cmd.ExtraFiles, f)
					}
				})
				l := s.drive(2, time.Millisecond)
				s.swap()
				s.swap()
				l.end()
				s.stop()
				s.wantNothingLost()
			})
		}
	}
}

func mustOpen(t *testing.T, path string) *os.File {
	t.Helper()
	f := have(os.Open(path))(t)
	return f
}
