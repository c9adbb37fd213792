//go:build linux

package pipeline

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestEnvironment: what the services make of APP_…. None of these starts, so
// that each error tells what has been heard of.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	const nowhere = "300.0.0.1:80"
	for _, service := range []string{"nethttp", "gin"} {
		binary := flow.Build(t, service, "v1", "")
		for _, c := range []struct {
			env, args, want string
			code            int
		}{
			{"APP_ADDR=" + nowhere, "", "-addr " + nowhere, 1},
			{"APP_PULL_MAX=soon", "", `APP_PULL_MAX is "soon"`, 2},
			{"APP_PULL_MIN=1m", "", "-pull-min is 1m0s", 1},
			{"APP_PULL_MIN=1m", "-pull-min 0s -addr " + nowhere, "-addr " + nowhere, 1},
			{"APP_PULL_MIN=", "-addr " + nowhere, "-addr " + nowhere, 1},
			{"APP_S=stop", "-addr " + nowhere, "-addr " + nowhere, 1},
		} {
			cmd := exec.Command(binary, strings.Fields(c.args)...)
			cmd.Env = append(os.Environ(), c.env)
			said, code := flow.Run(t, cmd)
			if code != c.code || !strings.Contains(said, c.want) {
				t.Errorf("%s %s %s: exit code %d, want %d; it says %q, want %q",
					c.env, service, c.args, code, c.code, said, c.want)
			}
		}
	}
}
