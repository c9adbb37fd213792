package drain

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/baton-go/baton/"

// TestLayers: each package has a row in ARCHITECTURE.md, imports packages of rows below its own, and of other
// modules what the row says.
func TestLayers(t *testing.T) {
	t.Parallel()
	imports := importsByPackage(t)
	var order []string
	rows := rowsOf(t, "Layers")
	for _, cells := range rows {
		order = append(order, namesIn(cells[0])...)
	}
	for pkg := range imports {
		if !slices.Contains(order, pkg) {
			t.Errorf("ARCHITECTURE.md, Layers lacks %s: add a row below those of the packages that import it", pkg)
		}
	}
	for i, pkg := range order {
		var others []string
		for _, im := range imports[pkg] {
			if strings.Contains(im, ".") {
				others = append(others, im)
			} else if !slices.Contains(order[i+1:], im) {
				t.Errorf("%s imports %s, which is not below it in ARCHITECTURE.md", pkg, im)
			}
		}
		if said := namesIn(rows[i][2]); !slices.Equal(said, others) {
			t.Errorf("ARCHITECTURE.md, Layers: %s imports %q of other modules, not %q", pkg, others, said)
		}
		if _, ok := imports[pkg]; !ok {
			t.Errorf("ARCHITECTURE.md, Layers has %s, which is no package", pkg)
		}
	}
}

// TestWireInArchitecture: the kinds of messages and the abilities are those of wire.go.
func TestWireInArchitecture(t *testing.T) {
	t.Parallel()
	there, listed := slices.Concat(wireConstants(t, "kind"), wireConstants(t, "ability")), []string(nil)
	for _, cells := range rowsOf(t, "The wire") {
		listed = append(listed, namesIn(cells[0])...)
	}
	sameNames(t, "ARCHITECTURE.md, The wire", listed, there)
	text := strings.Join(strings.Fields(architecture(t)), " ")
	if version := fmt.Sprintf("Version %d is spoken", spoken.Version); !strings.Contains(text, version) {
		t.Errorf("ARCHITECTURE.md does not say %q", version)
	}
}

// TestSwapInArchitecture: the timeline of a swap has the kinds of messages that a swap takes, and no others, and the
// verbs of a part are those of parts.go.
func TestSwapInArchitecture(t *testing.T) {
	t.Parallel()
	_, text, _ := strings.Cut(architecture(t), "\n## A swap\n")
	_, text, _ = strings.Cut(text, "```\n")
	text, _, found := strings.Cut(text, "\n```")
	if !found {
		t.Fatal("ARCHITECTURE.md, A swap has no timeline")
	}
	kinds := wireConstants(t, "kind")
	for line := range strings.Lines(text) { // what its arrow carries
		for _, arrow := range []string{" ─", "◀─"} {
			before, after, drawn := strings.Cut(line, arrow)
			label := strings.TrimSpace(before)
			if arrow == "◀─" {
				label = strings.TrimLeft(after, "─ ")
			}
			word, _, colon := strings.Cut(label, ":")
			if !drawn || !colon || strings.Contains(before, "◀") {
				continue
			}
			if word != "ready" && word != "Promoting" && !slices.Contains(kinds, word) { // tableflip's pipe; a phase
				t.Errorf("ARCHITECTURE.md, A swap: %q is no kind of message", word)
			}
		}
	}
	for _, kind := range kinds {
		// Steps of a swap that fails, or with another version, and what comes between two steps.
		elsewhere := slices.Contains([]string{"failed", "conns", "adopt", "stop", "forward", "hurry"}, kind)
		if elsewhere == regexp.MustCompile(`\b`+kind+`\b`).MatchString(text) {
			t.Errorf("ARCHITECTURE.md, A swap: %q is to be in the timeline: %v", kind, !elsewhere)
		}
	}
	var verbs, rows []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[part]()) {
		verbs = append(verbs, f.Name)
	}
	for _, cells := range rowsOf(t, "What exactly one generation owns") {
		rows = append(rows, cells[0])
	}
	sameNames(t, "ARCHITECTURE.md, What exactly one generation owns", rows, verbs)
}

// wireConstants are the constants of that type.
func wireConstants(t *testing.T, of string) []string {
	t.Helper()
	return slices.Collect(maps.Values(constantsOf(librarySources(t), of)))
}

// TestReliances: the files and tests that ARCHITECTURE.md names for what others don't promise are there.
func TestReliances(t *testing.T) {
	t.Parallel()
	tests := testsByPackage(t)
	for _, cells := range rowsOf(t, "What others do and do not promise") {
		files, held := namesIn(cells[1]), namesIn(cells[2])
		if len(files) == 0 || len(held) == 0 {
			t.Errorf("no file, or no test, for %s", cells[0])
		}
		for _, file := range files {
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				t.Error(err)
			}
		}
		for _, test := range held {
			if !tests[test] {
				t.Errorf("%s is no test", test)
			}
		}
	}
}

func architecture(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rowsOf returns the cells of the rows of a section's tables, without their heads.
func rowsOf(t *testing.T, section string) (rows [][]string) {
	t.Helper()
	_, text, found := strings.Cut(architecture(t), "\n## "+section+"\n")
	if !found {
		t.Fatalf("ARCHITECTURE.md has no section %q", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		head := i+1 < len(lines) && strings.HasPrefix(lines[i+1], "| ---")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || head {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) == 0 {
		t.Fatalf("ARCHITECTURE.md, %s has no row", section)
	}
	return rows
}

func namesIn(cell string) (names []string) {
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		names = append(names, m[1])
	}
	return names
}

// importsByPackage returns what each package of the library imports besides the standard library, on any platform.
func importsByPackage(t *testing.T) map[string][]string {
	t.Helper()
	imports := map[string]map[string]bool{}
	for _, dir := range []string{".", "../listener", "../health"} {
		err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			pkg := path.Join("drain", filepath.ToSlash(filepath.Dir(name)))
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			if _, ok := imports[pkg]; !ok {
				imports[pkg] = map[string]bool{}
			}
			for _, im := range file.Imports {
				p, _ := strconv.Unquote(im.Path.Value)
				if first, _, _ := strings.Cut(p, "/"); strings.Contains(first, ".") {
					imports[pkg][strings.TrimPrefix(p, module)] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	sorted := map[string][]string{}
	for pkg, of := range imports {
		sorted[pkg] = slices.Sorted(maps.Keys(of))
	}
	return sorted
}
