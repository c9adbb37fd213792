//go:build linux

package readmes

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// install finds what a README has apt-get install.
var install = regexp.MustCompile(`(?m)^apt-get install((?:\\\n|[^#\n])*)`)

func packagesOf(readme string) (names []string) {
	for _, m := range install.FindAllStringSubmatch(readme, -1) {
		for _, word := range strings.Fields(strings.ReplaceAll(m[1], "\\\n", " ")) {
			if !strings.HasPrefix(word, "-") {
				names = append(names, word)
			}
		}
	}
	return names
}

func TestPackagesOf(t *testing.T) {
	got := packagesOf("apt-get update\napt-get install -y a b \\\n\tc # d\nnot apt-get install e\napt-get install f\n")
	if want := []string{"a", "b", "c", "f"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// with adds to names what each Debian has, and what these need of the packages that are installed here.
func with(installed string, names []string) (all []string) {
	needs, found := map[string]string{}, map[string]bool{}
	for line := range strings.Lines(installed) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "|\t")
		if len(f) != 5 {
			continue
		}
		needs[f[0]] = f[4]
		for _, p := range strings.Split(f[3], ", ") {
			if name, _, _ := strings.Cut(p, " "); name != "" && needs[name] == "" {
				needs[name] = f[0] // provided by
			}
		}
		if f[1] == "yes" || f[2] == "required" {
			names = append(names, f[0])
		}
	}
	word := regexp.MustCompile(`(?:^|[,|]) *([a-z0-9][a-z0-9+.-]+)`)
	for left := names; len(left) > 0; {
		name := left[0]
		left = left[1:]
		if _, ok := needs[name]; !ok || found[name] {
			continue
		}
		found[name] = true
		all = append(all, name)
		for _, m := range word.FindAllStringSubmatch(needs[name], -1) {
			left = append(left, m[1])
		}
	}
	return all
}

func TestWith(t *testing.T) {
	const installed = "base|\tyes|\trequired|\t|\tlibc\n" +
		"libc|\tno|\toptional|\t|\t\n" +
		"tool|\tno|\toptional|\t|\tnot-here | other (>= 1), mail\n" +
		"other|\tno|\toptional|\t|\ttool\n" +
		"exim|\tno|\toptional|\tmail (= 1), more|\t\n" +
		"stray|\tno|\toptional|\t|\tbase\n"
	got := with(installed, []string{"tool"})
	slices.Sort(got)
	if want := []string{"base", "exim", "libc", "mail", "other", "tool"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// only leaves the session no commands but those of a machine that has nothing but what each Debian has, git, Go, the
// packages that the README names, and more that no package has.
func (s *session) only(blocks []block, more []string) {
	readme := ""
	for _, b := range blocks {
		readme += b.commands
	}
	t, folder := s.t, filepath.Join(s.dir, "bin")
	t.Helper()
	installed := output(t, "dpkg-query", "-W", "-f",
		`${Package}|	${Essential}|	${Priority}|	${Provides}|	${Pre-Depends}, ${Depends}\n`)
	names := packagesOf(readme)
	for _, name := range names {
		if !strings.Contains("\n"+installed, "\n"+name+"|") {
			flow.Missing(t, name, "apt-get install "+name)
		}
	}
	link := func(path string) {
		if err := os.Symlink(path, filepath.Join(folder, filepath.Base(path))); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, name := range with(installed, append(names, "git")) {
		if strings.Contains("\n"+installed, "\n"+name+"|") { // and is not the name of what another one provides
			there = append(there, name)
		}
	}
	owned := map[string]bool{}
	command := regexp.MustCompile(`^(/usr)?/s?bin/[^/]+$`)
	for path := range strings.Lines(output(t, "dpkg", append([]string{"-L"}, there...)...)) {
		path = strings.TrimSpace(path)
		owned[path] = true
		if command.MatchString(path) && exists(path) {
			link(path)
		}
	}
	alternatives, _ := filepath.Glob("/usr/*bin/*")
	for _, path := range alternatives {
		to, _ := os.Readlink(path)
		if !strings.HasPrefix(to, "/etc/alternatives/") {
			continue
		}
		// /bin is a link to /usr/bin, and a package may name either.
		if real, err := os.Readlink(to); err == nil && (owned[real] || owned[strings.TrimPrefix(real, "/usr")]) {
			link(path)
		}
	}
	root := goEnv(t, "GOROOT")
	link(filepath.Join(root, "bin", "go"))
	link(filepath.Join(root, "bin", "gofmt"))
	for _, name := range more {
		link(flow.Tool(t, name, "see .ci/run"))
	}
	s.follow(block{commands: `PATH=$dir/bin`})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

// goEnv is a setting of Go's. A -json in GOFLAGS is for the tests.
func goEnv(t testing.TB, name string) string {
	t.Helper()
	return strings.TrimSpace(output(t, "env", "GOFLAGS=", "go", "env", name))
}
