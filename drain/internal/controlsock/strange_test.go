//go:build unix

package controlsock

import (
	"log/slog"
	"os"
	"strings"
	"testing"
)

// Another program has put its socket there. As long as that lives it stays, and then the service's own comes back.
func TestSocketInThePlaceOfOurs(t *testing.T) {
	t.Parallel()
	first := open(t, place(t), nil)
	for _, lives := range []bool{true, false} {
		passed := pass(t, first)
		_ = os.Remove(first.Path)
		other := open(t, first.Path, nil)
		if !lives {
			_ = other.Close()
		}
		var log strings.Builder
		s, err := Open(first.Path, passed, true, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		warned := strings.Contains(log.String(), "another program") && strings.Contains(log.String(), first.Path)
		if s.made == lives || s.There() == lives || warned != lives {
			t.Errorf("lives: %v; made: %v, there: %v, %s", lives, s.made, s.There(), log.String())
		}
		if s.End(true); exists(first.Path) != lives {
			t.Errorf("lives: %v; the file is there: %v", lives, exists(first.Path))
		}
	}
}
