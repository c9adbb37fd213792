package drain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestExportedNamesHaveDocComments: whatever a program can name has a comment above it, or behind it on its line. A
// constant, variable, field or method of an interface may share the comment directly above its lines, where no blank
// line is between.
func TestExportedNamesHaveDocComments(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{".", "drainflag", "draintest", "statuspage", "../listener", "../health"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		documented := 0
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range exportedNames(fset, file) {
				if n.documented {
					documented++
				} else {
					t.Errorf("%s: %s has no comment", fset.Position(n.pos), n.name)
				}
			}
		}
		if documented == 0 {
			t.Errorf("%s: this test finds no exported name", dir)
		}
	}
}

// exportedName is one name, or several of one type, such as "PullMin, PullMax".
type exportedName struct {
	name       string
	pos        token.Pos
	documented bool
}

func exportedNames(fset *token.FileSet, file *ast.File) (all []exportedName) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(typeName(d.Recv.List[0].Type))) {
				all = append(all, exportedName{d.Name.Name, d.Pos(), d.Doc != nil})
			}
		case *ast.GenDecl:
			shared := run{fset: fset, doc: d.Doc, end: fset.Position(d.Pos()).Line}
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.ValueSpec:
					documented := shared.documents(s, s.Doc, s.Comment)
					for _, name := range s.Names {
						if name.IsExported() {
							all = append(all, exportedName{name.Name, name.Pos(), documented})
						}
					}
				case *ast.TypeSpec:
					documented := shared.documents(s, s.Doc, s.Comment)
					if s.Name.IsExported() {
						all = append(all, exportedName{s.Name.Name, s.Pos(), documented})
						all = append(all, exportedMembers(fset, s)...)
					}
				}
			}
		}
	}
	return all
}

// exportedMembers are the fields of a struct, or the methods of an interface. Embedded interfaces are not among them.
func exportedMembers(fset *token.FileSet, of *ast.TypeSpec) (all []exportedName) {
	var members []*ast.Field
	switch typ := of.Type.(type) {
	case *ast.StructType:
		members = typ.Fields.List
	case *ast.InterfaceType:
		members = typ.Methods.List
	}
	shared := run{fset: fset}
	for _, m := range members {
		documented := shared.documents(m, m.Doc, m.Comment)
		names := m.Names
		if _, ok := of.Type.(*ast.StructType); ok && len(names) == 0 {
			names = []*ast.Ident{ast.NewIdent(typeName(m.Type))}
		}
		for _, name := range names {
			if name.IsExported() {
				all = append(all, exportedName{of.Name.Name + "." + name.Name, m.Pos(), documented})
			}
		}
	}
	return all
}

// run is lines without a blank one between, and the last comment above one of them.
type run struct {
	fset *token.FileSet
	doc  *ast.CommentGroup
	end  int // the last line so far
}

// documents takes the next declaration, and tells whether a comment is about it.
func (r *run) documents(n ast.Node, above, behind *ast.CommentGroup) bool {
	begin := r.fset.Position(n.Pos()).Line
	switch {
	case above != nil:
		r.doc = above
	case begin > r.end+1:
		r.doc = nil
	}
	r.end = r.fset.Position(n.End()).Line
	return r.doc != nil || behind != nil
}

// typeName is the name of a type, or of what a pointer is to, without its package and type parameters.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	}
	return ""
}
