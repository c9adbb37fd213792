package listener

import (
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A file uses files of its own row in ARCHITECTURE.md, and of those above it; among those of a row, only the four that
// hold the state use each other.
func TestFilesUseThoseAbove(t *testing.T) {
	if testing.Short() {
		t.Skip("type-checks all that this package imports")
	}
	t.Setenv("GOFLAGS", "") // the importer reads what go list prints: no -json
	page, err := os.ReadFile("../ARCHITECTURE.md")
	check(t, err)
	_, section, _ := strings.Cut(string(page), "## The files of listener")
	section, _, _ = strings.Cut(section, "\n## ")
	row := make(map[string]int)
	for i, line := range strings.Split(section, "\n") {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| `"), " |")
		if strings.HasPrefix(line, "| `") {
			for _, name := range regexp.MustCompile("[a-z0-9_]+").FindAllString(cell, -1) {
				row[name+".go"] = i
			}
		}
	}
	pkg, err := build.ImportDir(".", 0)
	check(t, err)
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range pkg.GoFiles {
		f, err := parser.ParseFile(fset, name, nil, 0)
		check(t, err)
		if files = append(files, f); row[name] == 0 {
			t.Errorf("%s is in no row", name)
		}
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	own, err := conf.Check(pkg.ImportPath, fset, files, info)
	check(t, err)
	uses := make(map[string]map[string]bool)
	for id, o := range info.Uses {
		if o.Pkg() != own {
			continue
		}
		from, to := filepath.Base(fset.Position(id.Pos()).Filename), filepath.Base(fset.Position(o.Pos()).Filename)
		if row[from] < row[to] {
			t.Errorf("%s uses %s of %s, which is in a row below", fset.Position(id.Pos()), id.Name, to)
		}
		if from != to && row[from] == row[to] && row[from] != row["conn.go"] {
			if uses[from] == nil {
				uses[from] = make(map[string]bool)
			}
			uses[from][to] = true
		}
	}
	for len(uses) > 0 { // takes out those that use none that is left
		all := slices.Sorted(maps.Keys(uses))
		last := slices.IndexFunc(all, func(from string) bool {
			return !slices.ContainsFunc(slices.Collect(maps.Keys(uses[from])), func(to string) bool { return uses[to] != nil })
		})
		if last < 0 {
			t.Fatalf("in a circle: %v", uses)
		}
		delete(uses, all[last])
	}
}
