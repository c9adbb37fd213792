package drain

import (
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// largestCircle is how many files may use each other in a circle: what a reader has to hold in mind at once.
const largestCircle = 5

// TestFilesUseThoseAbove: a file uses files of rows above its own in ARCHITECTURE.md, and of its own row, where no
// circle is larger than largestCircle. The latter holds for internal packages, too.
func TestFilesUseThoseAbove(t *testing.T) {
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", compiled(t))
	for _, pkg := range []string{"drain", "listener"} {
		t.Run(pkg, func(t *testing.T) {
			row := map[string]int{}
			for i, cells := range rowsOf(t, "The files of "+pkg) {
				for _, name := range namesIn(cells[0]) {
					row[name+".go"] = i + 1
				}
			}
			uses := usesOf(t, fset, imports, filepath.Join("..", pkg))
			for from, all := range uses {
				if row[from] == 0 {
					t.Errorf("ARCHITECTURE.md, The files of %s lacks %s", pkg, from)
				}
				for to, what := range all {
					if row[from] < row[to] {
						t.Errorf("%s uses %s of %s, which is in a row below", from, what, to)
					}
				}
			}
			wantSmallCircles(t, uses)
		})
	}
	for _, of := range []string{"drain", "listener", "health"} {
		dirs, err := filepath.Glob("../" + of + "/internal/*")
		if err != nil || len(dirs) == 0 {
			t.Fatalf("%s has %d internal packages: %v", of, len(dirs), err)
		}
		for _, dir := range dirs {
			t.Run(dir, func(t *testing.T) { wantSmallCircles(t, usesOf(t, fset, imports, dir)) })
		}
	}
}

// compiled finds what the packages here import, as the build cache has it: to type-check it from source takes half a
// minute.
func compiled(t *testing.T) func(path string) (io.ReadCloser, error) {
	t.Helper()
	const form = "{{.ImportPath}} {{.Export}}"
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", form, "../...")
	// Without -json; the rest decides what the cache has.
	flags := slices.DeleteFunc(strings.Fields(os.Getenv("GOFLAGS")), func(f string) bool { return f == "-json" })
	list.Env = append(os.Environ(), "GOFLAGS="+strings.Join(flags, " "))
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

func wantSmallCircles(t *testing.T, uses map[string]map[string]string) {
	t.Helper()
	for from := range uses {
		if circle := circleOf(uses, from); len(circle) > largestCircle {
			t.Errorf("%d files use each other: %q", len(circle), circle)
		}
	}
}

// usesOf tells which file of a package uses what of which other ones.
func usesOf(t *testing.T, fset *token.FileSet, imports types.Importer, dir string) map[string]map[string]string {
	t.Helper()
	pkg, err := build.ImportDir(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	uses := map[string]map[string]string{}
	for _, name := range pkg.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files, uses[name] = append(files, f), map[string]string{}
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: imports}
	own, err := conf.Check(module+filepath.Base(dir), fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	for id, o := range info.Uses {
		from, to := filepath.Base(fset.Position(id.Pos()).Filename), filepath.Base(fset.Position(o.Pos()).Filename)
		if o.Pkg() == own && from != to {
			uses[from][to] = id.Name
		}
	}
	return uses
}

// circleOf are the files that from uses, directly or not, and that use it.
func circleOf(uses map[string]map[string]string, from string) (circle []string) {
	reach := func(from string) map[string]bool {
		seen, next := map[string]bool{}, []string{from}
		for len(next) > 0 {
			for to := range uses[next[0]] {
				if !seen[to] {
					seen[to] = true
					next = append(next, to)
				}
			}
			next = next[1:]
		}
		return seen
	}
	for _, to := range slices.Sorted(maps.Keys(reach(from))) {
		if reach(to)[from] {
			circle = append(circle, to)
		}
	}
	return circle
}

// TestServiceIsSmall: what changes is the runner's, which hears of it by values.
func TestServiceIsSmall(t *testing.T) {
	t.Parallel()
	if n := reflect.TypeFor[Service]().NumField(); n > 12 {
		t.Errorf("Service has %d fields: give what changes to the runner, or to a part", n)
	}
	for path, file := range librarySources(t) {
		if strings.Contains(path, "/") {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "post" {
				return true
			}
			if _, ok := call.Args[0].(*ast.FuncLit); ok {
				t.Errorf("%s posts a function: give the event a name", path)
			}
			return true
		})
	}
}
