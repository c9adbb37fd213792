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

// TestFilesUseThoseAbove: a file uses files of rows above its own in ARCHITECTURE.md, and of its own row. In no package
// is a circle larger than largestCircle.
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
			for from, all := range usesOf(t, fset, imports, filepath.Join("..", pkg)) {
				if row[from] == 0 {
					t.Errorf("ARCHITECTURE.md, The files of %s lacks %s", pkg, from)
				}
				for to, what := range all {
					if row[from] < row[to] {
						t.Errorf("%s uses %s of %s, which is in a row below", from, what, to)
					}
				}
			}
		})
	}
	for pkg := range importsByPackage(t) {
		t.Run(pkg, func(t *testing.T) { wantSmallCircles(t, usesOf(t, fset, imports, filepath.Join("..", pkg))) })
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

// checked are the files of a package, by their names, and what their expressions are.
func checked(t *testing.T, fset *token.FileSet, imports types.Importer, dir string) (
	own *types.Package, files map[string]*ast.File, info *types.Info,
) {
	t.Helper()
	pkg, err := build.ImportDir(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]*ast.File{}
	for _, name := range pkg.GoFiles {
		if files[name], err = parser.ParseFile(fset, filepath.Join(dir, name), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	info = &types.Info{Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}
	conf := types.Config{Importer: imports}
	own, err = conf.Check(module+filepath.Base(dir), fset, slices.Collect(maps.Values(files)), info)
	if err != nil {
		t.Fatal(err)
	}
	return own, files, info
}

// usesOf tells which file of a package uses what of which other ones.
func usesOf(t *testing.T, fset *token.FileSet, imports types.Importer, dir string) map[string]map[string]string {
	t.Helper()
	own, files, info := checked(t, fset, imports, dir)
	uses := map[string]map[string]string{}
	for name := range files {
		uses[name] = map[string]string{}
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
	fset := token.NewFileSet()
	_, files, info := checked(t, fset, importer.ForCompiler(fset, "gc", compiled(t)), ".")
	// What builds a Service, and its Config.
	builds := []string{"New", "begin", "configure", "inherit", "assemble"}
	events := 0
	for _, file := range files {
		for _, d := range file.Decls {
			f, _ := d.(*ast.FuncDecl)
			ast.Inspect(d, func(n ast.Node) bool {
				var written []ast.Expr
				switch n := n.(type) {
				case *ast.AssignStmt:
					written = n.Lhs
				case *ast.IncDecStmt:
					written = []ast.Expr{n.X}
				case *ast.RangeStmt:
					written = []ast.Expr{n.Key, n.Value}
				case *ast.CallExpr:
					if to, ok := n.Fun.(*ast.SelectorExpr); ok && to.Sel.Name == "post" && len(n.Args) == 1 {
						events++
						wantValues(t, fset, info, n.Args[0])
					}
				case *ast.CaseClause:
					if f != nil && (f.Name.Name == "answer" || f.Name.Name == "heed") {
						for _, e := range n.List {
							events++
							wantValues(t, fset, info, e)
						}
					}
				}
				for _, e := range written {
					if what := settled(info, e); what != "" && (f == nil || !slices.Contains(builds, f.Name.Name)) {
						t.Errorf("%v: a %s is written to, and New has returned", fset.Position(e.Pos()), what)
					}
				}
				return true
			})
		}
	}
	if events < 50 {
		t.Errorf("%d events are posted, as this test finds", events)
	}
}

// settled names the type of which e is a field, or a part of one, if that does not change after New.
func settled(info *types.Info, e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.SelectorExpr:
			if of, ok := info.TypeOf(x.X).(*types.Pointer); ok {
				name := types.TypeString(of.Elem(), func(*types.Package) string { return "" })
				if name == "Service" || name == "Config" {
					return name
				}
				return ""
			}
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return ""
		}
	}
}

// wantValues checks that an event has no function: what it does could not be told from what it is.
func wantValues(t *testing.T, fset *token.FileSet, info *types.Info, event ast.Expr) {
	t.Helper()
	var find func(of types.Type, path string)
	find = func(of types.Type, path string) {
		switch u := of.Underlying().(type) {
		case *types.Signature:
			if !strings.HasPrefix(path, "leadAdded.") { // the program's, and what ends it
				t.Errorf("%v: %s is a function: give the event a name, and the answer a value",
					fset.Position(event.Pos()), path)
			}
		case *types.Struct:
			for f := range u.Fields() {
				find(f.Type(), path+"."+f.Name())
			}
		case interface{ Elem() types.Type }:
			if _, ok := u.(*types.Pointer); !ok { // what a pointer leads to is no part of the value
				find(u.Elem(), path+"[]")
			}
		}
	}
	of := info.TypeOf(event)
	find(of, types.TypeString(of, func(*types.Package) string { return "" }))
}
