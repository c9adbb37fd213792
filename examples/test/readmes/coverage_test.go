//go:build linux

package readmes

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// unfollowed are blocks of sh that no test runs, by the folder of their README and their first line, and why.
var unfollowed = map[string]string{
	"deploy/systemd: examples/deploy/systemd/bed.sh fetch /tmp/newer": "it asks the mirror of Debian; " +
		".ci/run does the same",
}

// TestEachBlockIsFollowed: each block of sh of a README under examples is one that TestFollowed runs, or runs tests,
// and then names what there is.
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
		for _, m := range inline.FindAllStringSubmatch(string(text), -1) {
			if why := untrue(t, strings.ReplaceAll(m[1], "\n", " ")); why != "" {
				t.Errorf("%s: %s: %s", folder, m[1], why)
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
					if why := untrue(t, line); why != "" {
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
		if !used[name] {
			t.Errorf("there is no such block any more, or a test follows it: %s", name)
		}
	}
}

// TestEachRowIsOfATest: each line of the table of flows is one that a test prints. Which one prints it is seen when
// that runs: here what it says has to stand in the strings of one package's tests.
func TestEachRowIsOfATest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(flow.Examples(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "<!-- flows -->\n")
	table, _, found := strings.Cut(table, "<!-- /flows -->")
	packages := literals(t)
	rows := strings.Split(strings.TrimSpace(table), "\n")
	if !found || len(rows) < 3 {
		t.Fatal("examples/README.md has no table of flows")
	}
	for _, row := range rows[2:] {
		cells := strings.Split(row, " | ")
		name, operation := strings.TrimPrefix(cells[0], "| "), cells[1]
		if !slices.ContainsFunc(packages, func(said []string) bool {
			return slices.Contains(said, name) && consists(operation, said)
		}) {
			t.Errorf("no test prints the line of %q: %q", name, operation)
		}
	}
	for _, gone := range []string{"two pods swapped", "restart of both nodes, `inter 1s`, twice", "all of it"} {
		if slices.ContainsFunc(packages, func(said []string) bool { return consists(gone, said) }) {
			t.Errorf("a test seems to print %q", gone)
		}
	}
}

// literals are the strings of the tests of each package, without what a verb stands for.
func literals(t *testing.T) (packages [][]string) {
	t.Helper()
	folders := map[string][]string{}
	err := filepath.WalkDir(flow.Examples(), func(path string, d fs.DirEntry, err error) error {
		own := strings.HasSuffix(filepath.Dir(path), "/test/readmes")
		if err != nil || own || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, _ := strconv.Unquote(lit.Value)
				folder := filepath.Dir(path)
				folders[folder] = append(folders[folder], verb.Split(text, -1)...)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(maps.Values(folders))
}

var verb = regexp.MustCompile(`%[a-z]`)

// consists tells whether text is nothing but numbers and parts, each of two letters at least.
func consists(text string, parts []string) bool {
	reached := make([]bool, len(text)+1)
	reached[0] = true
	for at := range text {
		if !reached[at] {
			continue
		}
		for _, part := range parts {
			if len(part) > 1 && strings.HasPrefix(text[at:], part) {
				reached[at+len(part)] = true
			}
		}
		if text[at] >= '0' && text[at] <= '9' {
			reached[at+1] = true
		}
	}
	return reached[len(text)]
}

// inline is a command in a sentence.
var inline = regexp.MustCompile("`((?:[A-Z_]+=\\S+ +)*go -C examples (?:test|run) [^`]*)`")

// command is one that runs tests, or measures: maybe settings, go test or go run, its arguments.
var command = regexp.MustCompile(`^((?:[A-Z_]+=\S+ +)*)go (?:-C examples )?(test|run) (.*?)(?: +#.*)?\n?$`)

// untrue returns what is wrong with a command that runs tests, as far as can be seen without running it: what it names
// has to be there. They run by themselves, and some for minutes.
func untrue(t testing.TB, line string) string {
	t.Helper()
	m := command.FindStringSubmatch(line)
	if m == nil {
		return "and this does not run tests: " + line
	}
	var code strings.Builder
	args := strings.Fields(strings.ReplaceAll(m[3], "'", "")) // a shell's quotes
	at := -1                                                  // where the last path is
	for i, arg := range args {
		if !strings.HasPrefix(arg, "./") || m[2] == "run" && at >= 0 {
			continue
		}
		at = i
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
	}
	if at < 0 {
		return "it names no package"
	}
	for _, setting := range strings.Fields(m[1]) {
		name, _, _ := strings.Cut(setting, "=")
		if !strings.Contains(code.String()+internal(), `"`+name+`"`) {
			return "nothing knows " + name
		}
	}
	if m[2] == "run" {
		return unknown(t, args[at], args[at+1:])
	}
	return unmatched(t, args)
}

// unmatched returns which pattern of go test's arguments no test has. These are asked of go test itself.
func unmatched(t testing.TB, args []string) string {
	t.Helper()
	for i, arg := range args {
		prefix, ok := map[string]string{"-run": "Test", "-bench": "Benchmark"}[arg]
		if !ok || args[i+1] == "^$" {
			continue
		}
		pattern, _, _ := strings.Cut(args[i+1], "/")
		uncounted := slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
			return strings.HasPrefix(arg, "-count") // it would keep go from remembering the answer
		})
		said, code := goTool(t, append([]string{"test", "-list", pattern}, uncounted...)...)
		if code != 0 {
			return fmt.Sprintf("go test: exit code %d\n%s", code, said)
		}
		if !strings.Contains("\n"+said, "\n"+prefix) {
			return "there is no " + prefix + "… that " + arg + " " + args[i+1] + " finds"
		}
	}
	return ""
}

// unknown builds a program, and returns which flag it does not have.
func unknown(t testing.TB, program string, args []string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "program")
	if said, code := goTool(t, "build", "-o", bin, program); code != 0 {
		return fmt.Sprintf("go build %s: exit code %d\n%s", program, code, said)
	}
	said, _ := flow.Run(t, exec.Command(bin, "-h"))
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		described := regexp.MustCompile(`(?m)^  -` + regexp.QuoteMeta(name) + `(\s|$)`)
		if strings.HasPrefix(arg, "-") && !described.MatchString(said) {
			return program + " has no flag -" + name
		}
	}
	return ""
}

// goTool runs go.
func goTool(t testing.TB, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = flow.Examples(), append(os.Environ(), flow.GoFlags())
	return flow.Run(t, cmd)
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
	for _, c := range []struct{ line, want string }{
		{"BATON_SWAPS=50 go -C examples test -count=1 -v -run TestPushesAreThere ./pushes\n", ""},
		{"go -C examples run ./bench/pause -swaps 50     # nothing to carry\n", ""},
		{"BATON_TABLE=1 go -C examples test -count=1 ./deploy/... ./test/systemd\n", ""},
		{"BATON_SWAP=50 go -C examples test ./pushes\n", "nothing knows BATON_SWAP"},
		{"go -C examples test -run TestPulls ./pushes\n", "there is no Test… that -run TestPulls finds"},
		{"go -C examples test -run '^TestPushes$/a' ./pushes\n",
			"there is no Test… that -run ^TestPushes$/a finds"},
		{"go -C examples test -rum TestPushes -run TestPushes ./pushes\n", "go test: exit code "},
		{"go -C examples test -run '^$' -bench Passive ./deploy/nginx\n", ""},
		{"go -C examples test -run '^$' -bench Active ./deploy/nginx\n",
			"there is no Benchmark… that -bench Active finds"},
		{"go -C examples run ./bench/pause -swap 50\n", "./bench/pause has no flag -swap"},
		{"go -C examples run ./bench\n", "there is nothing to run in ./bench: "},
		{"go -C examples test ./push\n", "there is nothing to test in ./push: "},
		{"go -C examples test -v\n", "it names no package"},
		{"./app -s reload\n", "and this does not run tests: ./app -s reload\n"},
	} {
		if got := untrue(t, c.line); got != c.want && (c.want == "" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
}
