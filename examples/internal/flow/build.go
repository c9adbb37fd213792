//go:build unix

package flow

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is for what must happen: it bounds a hang and decides nothing else.
const Patience = 2 * time.Minute

var builds struct {
	dir string
	sync.Mutex
	done map[string]error
}

// Race has the services built with the race detector, whose words a Node looks for: where the services have code of
// their own. Behind balancers and scripts, which run the binary whenever they ask, it would cost half of the CPU time
// and look at the library alone, as that one's own tests do. Set it before Main.
var Race bool

// Keeper is Config.Keeper of the services that the tests start, unless their flags say another: a test of the bare swap
// counts processes. "" leaves it at the default, as an operator does. Set it before Main.
var Keeper = "never"

// Main is for TestMain.
func Main(m *testing.M) {
	flag.Parse()
	// Most of the time they wait for something to happen.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("8")
	}
	dir, err := os.MkdirTemp("", "flow")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if Keeper != "" {
		_ = os.Setenv("APP_KEEPER", Keeper)
	}
	if Race {
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // or each generation would stay for a second more
	}
	builds.dir, builds.done = dir, map[string]error{}
	heedSignals()
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// heedSignals lets what the tests start have the default action of each signal. nohup and a shell's & ignore some,
// which a child would inherit; what this process catches, it does not inherit.
func heedSignals() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} { // the others Go's runtime catches anyway
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}

// Examples returns the path of the examples folder, which the working directory lies in: go test and go run see to
// that, and a build by -trimpath knows no other way.
func Examples() string { return examples }

var examples = func() string {
	start, _ := os.Getwd()
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "internal", "flow")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			log.Fatalf("run it in the folder examples, not in %q", start)
		}
	}
}()

// Build returns a build of examples/<service>, made once for all tests of a package. With a fault,
// it is a build of examples/internal/faulty, which takes the same flags.
func Build(t testing.TB, service, version, fault string) string {
	t.Helper()
	if Race {
		return build(t, service, version, fault, "1", "-race")
	}
	return build(t, service, version, fault, os.Getenv("CGO_ENABLED"))
}

// Static is Build for an image that has no libc.
func Static(t testing.TB, service, version, fault string) string {
	t.Helper()
	return build(t, service, version, fault, "0")
}

func build(t testing.TB, service, version, fault, cgo string, with ...string) string {
	t.Helper()
	whole(t)
	builds.Lock()
	defer builds.Unlock()
	if fault != "" {
		service = "internal/faulty"
	}
	bin := filepath.Join(builds.dir, filepath.Base(service)+"-"+version+"-"+fault+"-cgo"+cgo)
	err, ok := builds.done[bin]
	if !ok {
		flags := fmt.Sprintf("-X main.version=%s -X main.fault=%s", version, fault)
		// go run keeps what it links in the build cache, which go build does not:
		// several packages, and the next run, want the same.
		args := append([]string{"run", "-exec", "cp", "-ldflags", flags}, with...)
		cmd := exec.Command("go", append(args, "./"+service, bin)...)
		cmd.Dir = Examples()
		if cgo != "" {
			cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		}
		if out, failed := cmd.CombinedOutput(); failed != nil {
			err = fmt.Errorf("go build ./%s: %w\n%s", service, failed, out)
		}
		builds.done[bin] = err
	}
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// GoFlags is GOFLAGS without what is for tests: go mod edit and go get know -json too, and -count=1 keeps go test -list
// from remembering. The rest stays, or all would be compiled once more.
func GoFlags() string {
	flags := slices.DeleteFunc(strings.Fields(os.Getenv("GOFLAGS")), func(flag string) bool {
		return flag == "-json" || strings.HasPrefix(flag, "-count")
	})
	return "GOFLAGS=" + strings.Join(append(flags, "-buildvcs=false"), " ")
}

// whole skips a test under -short: what builds services and drives balancers is `make flows`.
func whole(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds services or starts programs")
	}
}

// Tool returns the path of a program that a test cannot do without. Install
// says how one gets it.
func Tool(t testing.TB, name, install string) string {
	t.Helper()
	whole(t)
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name, install)
	}
	return path
}

// Busybox returns a command that runs a script under busybox's shell, which is sh for what that calls, too. The tests
// of some flows have it, those of others dash, as most READMEs do where they are followed: the scripts are for both.
func Busybox(t testing.TB, script string, args ...string) *exec.Cmd {
	t.Helper()
	busybox, dir := Tool(t, "busybox", "apt-get install busybox"), t.TempDir()
	if err := os.Symlink(busybox, filepath.Join(dir, "sh")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "sh"), append([]string{script}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return cmd
}

// Missing skips a test that can't do without something; in CI it fails.
func Missing(t testing.TB, what, install string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing, and CI is set: %s", what, install)
	}
	t.Skipf("%s is missing: %s", what, install)
}

// Root skips a test that makes namespaces, unless it may.
func Root(t testing.TB) {
	t.Helper()
	whole(t)
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("CI") != "":
		t.Fatal("not root, and CI is set: this test makes namespaces")
	default:
		t.Skip("not root: this test makes namespaces")
	}
}

// Eventually waits for a fact.
func Eventually(t testing.TB, what string, fact func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !fact(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", Patience, what)
		}
	}
}

// Deploy puts a build in place the way one does under a running service.
func Deploy(t testing.TB, build, path string) {
	t.Helper()
	in, err := os.ReadFile(build)
	if err == nil {
		// A child forked while the file is open would hold it open for writing a
		// little longer, and it could not be executed ("text file busy").
		syscall.ForkLock.RLock()
		err = os.WriteFile(path+".new", in, 0o755)
		syscall.ForkLock.RUnlock()
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}
