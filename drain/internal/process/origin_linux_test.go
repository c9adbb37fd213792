package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The binary is what the kernel has started, by the path that it was given, and the folder has the name that
// leads there through a link.
func TestOrigin(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	release := filepath.Join(dir, "releases", "1")
	if err := os.MkdirAll(filepath.Join(release, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	real := filepath.Join(release, "bin", "app")
	text, err := os.ReadFile(self(t))
	if err == nil {
		err = os.WriteFile(real, text, 0o755)
	}
	current := filepath.Join(dir, "current")
	for link, to := range map[string]string{current: "releases/1", filepath.Join(dir, "by-link"): real,
		filepath.Join(dir, "other"): "releases/1"} {
		if err == nil {
			err = os.Symlink(to, link)
		}
	}
	script := filepath.Join(dir, "script")
	if err == nil {
		err = os.WriteFile(script, []byte("#!"+real+" -x\n"), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name              string
		path, chdir, pwd  string
		arg0              string
		binary, wantedDir string
	}{
		{"absolute", real, dir, "", "app", real, dir},
		{"a name that is in PATH", real, dir, "", "ls", real, dir},
		{"no name", real, dir, "", "", real, dir},
		{"through a link to a folder", current + "/bin/app", dir, "", "app", current + "/bin/app", dir},
		{"through a link to the file", dir + "/by-link", dir, "", "by-link", dir + "/by-link", dir},
		{"relative", "./bin/app", release, "", "./bin/app", real, release},
		{"relative, where PWD has a link", "./bin/app", current, current, "./bin/app", current + "/bin/app", current},
		{"up and down", "../../current/bin/app", release, "", "x", current + "/bin/app", current},
		{"the folder of the binary", current + "/bin/app", release, "", "x", current + "/bin/app", current},
		{"PWD leads elsewhere", real, release, "/", "x", real, release},
		{"PWD is relative", real, release, ".", "x", real, release},
		{"PWD has another link", current + "/bin/app", release, dir + "/other",
			"x", current + "/bin/app", dir + "/other"},
		{"the interpreter of a script", script, dir, "", "script", real, dir},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			cmd := &exec.Cmd{Path: x.path, Args: []string{x.arg0, "a", ""}, Dir: x.chdir}
			cmd.Env = []string{"A=1", "odd", "E="}
			if x.pwd != "" {
				cmd.Env = append(cmd.Env, "PWD="+x.pwd)
			}
			env := append(slices.Clone(cmd.Env), modeEnv+"=tell")
			args := cmd.Args
			if x.path == script {
				args = []string{real, "-x", script, "a", ""}
			}
			cmd.Env = env
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			got := parse(t, out)
			if got.Binary != x.binary || got.Dir != x.wantedDir ||
				!slices.Equal(got.Args, args) || !slices.Equal(got.Env, env) {
				t.Errorf("binary %s, folder %s, arguments %q, environment %q; want %s, %s, %q, %q",
					got.Binary, got.Dir, got.Args, got.Env, x.binary, x.wantedDir, args, env)
			}
		})
	}
}

// What is meant for one process alone is not passed on.
func TestChildEnv(t *testing.T) {
	t.Parallel()
	pid := strconv.Itoa(os.Getpid())
	for _, x := range []struct{ env, want string }{
		{"A=1 LISTEN_PID=1 LISTEN_FDS=2 LISTEN_FDNAMES=a:b B=2 " + sentinel + "=yes", "A=1 B=2"},
		{"WATCHDOG_USEC=5 WATCHDOG_PID=" + pid, "WATCHDOG_USEC=5"},
		{"WATCHDOG_USEC=5", "WATCHDOG_USEC=5"},
		{"WATCHDOG_USEC=5 WATCHDOG_PID=1", ""},
		{"WATCHDOG_USEC=5 WATCHDOG_PID=7 " + KeeperEnv + "=7%3", "WATCHDOG_USEC=5"},
		{"NOTIFY_SOCKET=/run/n LISTEN=1", "NOTIFY_SOCKET=/run/n LISTEN=1"},
	} {
		var env []string
		for _, v := range strings.Fields(x.env) {
			env = append(env, strings.ReplaceAll(v, "%", " "))
		}
		o := &Origin{Env: env}
		if got := strings.Join(o.ChildEnv(), " "); got != x.want {
			t.Errorf("%s: %q; want %q", x.env, got, x.want)
		}
	}
}
