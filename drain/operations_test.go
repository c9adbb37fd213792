package drain

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/listener"
)

// TestOperationsPage: what OPERATIONS.md lists is what there is.
func TestOperationsPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	sources := librarySources(t)
	for section, there := range map[string][]string{
		"Log lines":      logLines(sources),
		"Events":         slices.Collect(maps.Values(constantsOf(sources, "EventKind"))),
		"Status":         statusFields(reflect.TypeFor[Status](), ""),
		"Metrics":        families(t),
		"Exit codes":     exitCodes(sources),
		"Control socket": controlRequests(t),
	} {
		t.Run(section, func(t *testing.T) {
			sameNames(t, "OPERATIONS.md, "+section, listed(t, string(text), section),
				there)
		})
	}
}

// sameNames compares what a page lists with what there is.
func sameNames(t *testing.T, where string, listed, there []string) {
	t.Helper()
	if len(there) == 0 {
		t.Errorf("%s: this test finds nothing to compare with", where)
	}
	for _, name := range there {
		if !slices.Contains(listed, name) {
			t.Errorf("%s lacks %q: add a row", where, name)
		}
	}
	for _, name := range listed {
		if !slices.Contains(there, name) {
			t.Errorf("%s has %q, which the code has not: remove the row, or mend it", where, name)
		}
	}
}

// listed returns what stands in backticks in the first cells of a section's tables.
func listed(t *testing.T, page, section string) (names []string) {
	t.Helper()
	_, page, found := strings.Cut(page, "\n## "+section+"\n")
	if !found {
		t.Fatalf("no section %q", section)
	}
	page, _, _ = strings.Cut(page, "\n## ")
	quoted := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(page) {
		if cells := strings.Split(line, "|"); len(cells) > 2 && cells[0] == "" {
			for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
				names = append(names, m[1])
			}
		}
	}
	return names
}

// librarySources parses the library, of all platforms, without its tests.
func librarySources(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	for _, dir := range []string{".", "../listener", "../health"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, 0)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// logLines finds the messages of events, and what else is logged. A part that the program fills in is "…".
func logLines(sources map[string]*ast.File) []string {
	lines := map[string]bool{}
	for path, file := range sources {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if i, ok := lineOf(n); ok && i < len(n.Args) {
					add(lines, n.Args[i])
				}
			case *ast.CompositeLit: // what went wrong elsewhere
				if of, ok := n.Type.(*ast.Ident); ok && of.Name == "trouble" && len(n.Elts) > 2 {
					add(lines, n.Elts[2])
				}
			case *ast.KeyValueExpr: // what the machine logs
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Message" {
					add(lines, n.Value)
				}
			case *ast.AssignStmt: // what lost logs
				for i, l := range n.Lhs {
					if id, ok := l.(*ast.Ident); ok && path == "loss.go" && id.Name == "what" {
						add(lines, n.Rhs[i])
					}
				}
			}
			return true
		})
	}
	return slices.Collect(maps.Keys(lines))
}

// lineOf tells which argument of a call is a log line, if one is.
func lineOf(call *ast.CallExpr) (i int, ok bool) {
	if f, ok := call.Fun.(*ast.SelectorExpr); ok {
		switch f.Sel.Name {
		case "Warn", "Error", "Info", "Debug":
			return 0, true
		case "Log":
			return 2, true
		}
	}
	name := ""
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		name = f.Sel.Name
	case *ast.Ident: // a parameter
		name = f.Name
	}
	switch name {
	case "pull", "drain", "finish", "bow", "say", "sayError", "warn":
		return 1, true
	case "tell", "enter":
		return 2, true
	case "tellIn":
		return 3, true
	}
	return 0, false
}

func add(lines map[string]bool, e ast.Expr) {
	if call, ok := e.(*ast.CallExpr); ok && len(call.Args) > 0 {
		if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			e = call.Args[0]
		}
	}
	if text := literal(e); text != "" {
		lines[regexp.MustCompile(`%[a-z]`).ReplaceAllString(text, "…")] = true
	}
}

// literal is the value of a string constant, perhaps written as a sum; "" for anything else.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, _ := strconv.Unquote(e.Value)
			return text
		}
	case *ast.BinaryExpr:
		if left, right := literal(e.X), literal(e.Y); left != "" && right != "" {
			return left + right
		}
	}
	return ""
}

// statusFields are the fields of a Status as JSON. What an older generation has open is as what this one has.
func statusFields(t reflect.Type, path string) (names []string) {
	switch {
	case t.Kind() == reflect.Pointer:
		return statusFields(t.Elem(), path)
	case t.Kind() == reflect.Slice:
		return statusFields(t.Elem(), path+"[]")
	case t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() || path == "older[].open":
		return []string{path}
	}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, statusFields(t.Field(i).Type, strings.TrimPrefix(path+"."+name, "."))...)
	}
	return names
}

// families are the metrics with their labels.
func families(t *testing.T) (names []string) {
	t.Helper()
	now := time.Now()
	older := Peer{Generation: 1, Phase: Draining, Since: now, Deadline: now, Hurried: true,
		Open: listener.Counts{Idle: 1}}
	var text bytes.Buffer
	if err := (Status{Generation: 2, Since: now, Deadline: now, Older: []Peer{older},
		LastSwap: &SwapResult{At: now}}).WriteMetrics(&text); err != nil {
		t.Fatal(err)
	}
	sample := regexp.MustCompile(`^(baton_\w+)(?:\{(.*)\})? `)
	label := regexp.MustCompile(`(\w+)="[^"]*"`)
	for line := range strings.Lines(text.String()) {
		if m := sample.FindStringSubmatch(line); m != nil {
			name := m[1]
			if m[2] != "" {
				name += "{" + label.ReplaceAllString(m[2], "$1") + "}"
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// exitCodes are those that the library itself exits with.
func exitCodes(sources map[string]*ast.File) (codes []string) {
	codes = []string{"0"} // where main returns
	for _, file := range sources {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || f.Sel.Name != "Exit" {
				return true
			}
			if lit, ok := call.Args[0].(*ast.BasicLit); ok && !slices.Contains(codes, lit.Value) {
				codes = append(codes, lit.Value)
			}
			return true
		})
	}
	return codes
}

// controlRequests are what the control socket answers.
func controlRequests(t *testing.T) (requests []string) {
	t.Helper()
	source, err := os.ReadFile("control.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\s+"((?:GET|POST) /\w+)":`).FindAllSubmatch(source, -1) {
		requests = append(requests, string(m[1]))
	}
	return requests
}
