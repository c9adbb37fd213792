package drain_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// oldVersion is the oldest version of this library whose generations this one takes over from and hands over
// to: the one before what a link carries was frozen. The first release takes its place when there is one.
const oldVersion = "d47d631e7888ac12cd6d908bc8d0bb3f53c55864"

// oldBinary builds the tests' service of oldVersion, once for each version of Go: it is kept in the user's
// cache. Its plan and its records are those of process_unix_test.go as it was then, so what both have must
// keep its name there.
func oldBinary(t testing.TB) string {
	t.Helper()
	path, err := buildOld()
	switch {
	case errors.As(err, new(missing)) && os.Getenv("CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	return path
}

// missing is why the old version can't be had at all.
type missing string

func (m missing) Error() string { return string(m) }

var buildOld = sync.OnceValues(func() (path string, err error) {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Dir(filepath.Dir(file))
	out, err := exec.Command("git", "-C", root, "rev-parse", "--verify", oldVersion+"^{commit}").CombinedOutput()
	if err != nil {
		return "", missing(fmt.Sprintf("the history up to %.7s is missing (git fetch --unshallow gets it): %v\n%s",
			oldVersion, err, out))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "baton", "versions")
	path = filepath.Join(dir, fmt.Sprintf("%.7s-%s", oldVersion, runtime.Version()))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tree, err := os.MkdirTemp("", "baton-old")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tree)
	script := `set -e
git -C "$1" archive --format=tar "$2" >"$3/tree.tar"
mkdir "$3/tree"
tar -xf "$3/tree.tar" -C "$3/tree"
cd "$3/tree"
go test -c -trimpath -o "$3/old" ./drain
`
	cmd := exec.Command("/bin/sh", "-c", script, "sh", root, oldVersion, tree)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build of %.7s: %w\n%s", oldVersion, err, out)
	}
	// By way of a name of its own: another test process may be at it too.
	text, err := os.ReadFile(filepath.Join(tree, "old"))
	if err == nil {
		err = os.WriteFile(fmt.Sprintf("%s.%d", path, os.Getpid()), text, 0o755)
	}
	if err == nil {
		err = os.Rename(fmt.Sprintf("%s.%d", path, os.Getpid()), path)
	}
	return path, err
})
