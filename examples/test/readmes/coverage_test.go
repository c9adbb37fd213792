//go:build linux

package readmes

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// unfollowed are blocks of sh that no test runs, by the folder of their README and their first line, and why.
var unfollowed = map[string]string{
	"deploy/systemd: examples/deploy/systemd/bed.sh fetch /tmp/newer": "it asks the mirror of Debian; .ci/run does the same",
}

// TestEachBlockIsFollowed: each block of sh of a README under examples is one that TestFollowed runs, or runs tests, and
// then names what there is.
func TestEachBlockIsFollowed(t *testing.T) {
	used := map[string]bool{}
	err := filepath.WalkDir(flow.Examples(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "README.md" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(flow.Examples(), filepath.Dir(path))
		if err != nil {
			return err
		}
		var run []block
		for _, r := range followed {
			if r.folder == folder {
				run = append(run, r.blocks(string(text))...)
			}
		}
		for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
			first, _, _ := strings.Cut(m[2], "\n")
			first, _, _ = strings.Cut(first, " #")
			name := folder + ": " + strings.TrimSpace(first)
			switch {
			case m[1] != "sh" || slices.ContainsFunc(run, func(b block) bool { return b.commands == m[2] }):
			case unfollowed[name] != "":
				used[name] = true
			default:
				for line := range strings.Lines(m[2]) {
					if why := untrue(line); why != "" {
						t.Errorf("%s: no test follows\n%s%s", folder, m[2], why)
						break
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range unfollowed {
		folder, _, _ := strings.Cut(name, ":")
		if !used[name] && !slices.ContainsFunc(followed, func(r readme) bool { return r.folder == folder }) {
			t.Errorf("there is no such block any more, or a test follows it: %s", name)
		}
	}
}

// command is one that runs tests, or measures: maybe settings, go test or go run, its arguments.
var command = regexp.MustCompile(`^((?:[A-Z_]+=\S+ +)*)go (?:-C examples )?(test|run) (.*?)(?: +#.*)?\n?$`)

// untrue returns what is wrong with a command that runs tests, as far as can be seen without running it: what it names
// has to be there. They run by themselves, and some for minutes.
func untrue(line string) string {
	m := command.FindStringSubmatch(line)
	if m == nil {
		return "and this does not run tests: " + line
	}
	var code strings.Builder
	var wanted []string
	flags := false
	args := strings.Fields(m[3])
	for i, arg := range args {
		switch {
		case strings.HasPrefix(arg, "./"):
			within := strings.TrimSuffix(filepath.Join(flow.Examples(), arg), "/...")
			n := 0
			err := filepath.WalkDir(within, func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if d.IsDir() && path != within && !strings.HasSuffix(arg, "/...") {
					return fs.SkipDir
				}
				if strings.HasSuffix(path, ".go") && strings.HasSuffix(path, "_test.go") == (m[2] == "test") {
					n++
					text, err := os.ReadFile(path)
					code.Write(text)
					return err
				}
				return nil
			})
			if err != nil || n == 0 {
				return fmt.Sprintf("there is nothing to %s in %s: %v", m[2], arg, err)
			}
			flags = m[2] == "run"
		case arg == "-run" && args[i+1] != "'^$'":
			wanted = append(wanted, "func "+args[i+1]+"(")
		case arg == "-bench":
			wanted = append(wanted, "func Benchmark"+args[i+1])
		case flags && strings.HasPrefix(arg, "-"):
			wanted = append(wanted, `"`+strings.TrimLeft(arg, "-")+`"`)
		}
	}
	for _, setting := range strings.Fields(m[1]) {
		name, _, _ := strings.Cut(setting, "=")
		if !strings.Contains(code.String()+internal(), `"`+name+`"`) {
			return "nothing knows " + name
		}
	}
	for _, want := range wanted {
		if !strings.Contains(code.String(), want) {
			return "there is no " + want
		}
	}
	if code.Len() == 0 {
		return "it names no package"
	}
	return ""
}

// internal is the code that tests share.
func internal() string {
	var code strings.Builder
	files, _ := filepath.Glob(filepath.Join(flow.Examples(), "internal", "*", "*.go"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		code.Write(text)
	}
	return code.String()
}

func TestUntrue(t *testing.T) {
	for line, want := range map[string]string{
		"BATON_SWAPS=50 go -C examples test -count=1 -v -run TestPushesAreThere ./pushes\n": "",
		"go -C examples run ./bench/pause -swaps 50     # nothing to carry\n":               "",
		"BATON_TABLE=1 go -C examples test -count=1 ./deploy/... ./test/systemd\n":          "",
		"BATON_SWAP=50 go -C examples test ./pushes\n":                                      "nothing knows BATON_SWAP",
		"go -C examples test -run TestPushes ./pushes\n":                                    "there is no func TestPushes(",
		"go -C examples test -run '^$' -bench Passive ./deploy/nginx\n":                     "",
		"go -C examples test -run '^$' -bench Active ./deploy/nginx\n":                      "there is no func BenchmarkActive",
		"go -C examples run ./bench/pause -swap 50\n":                                       `there is no "swap"`,
		"go -C examples test ./push\n":                                                      "there is nothing to test in ./push: ",
		"go -C examples test -v\n":                                                          "it names no package",
		"./app -s reload\n":                                                                 "and this does not run tests: ./app -s reload\n",
	} {
		if got := untrue(line); got != want && (want == "" || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
