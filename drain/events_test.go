package drain

import (
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestEachEventHasAKind: what the code tells is in the table of kinds, and the other way round.
func TestEachEventHasAKind(t *testing.T) {
	t.Parallel()
	sources := librarySources(t)
	kinds := eventKindsOf(sources)
	for path := range sources {
		if strings.Contains(path, "/") && !strings.HasPrefix(path, "internal/machine/") || path == "loss.go" { // no events
			delete(sources, path)
		}
	}
	var there []string
	for _, message := range logLines(sources, false) {
		there = append(there, strings.ReplaceAll(message, "…", killGrace.String()))
	}
	sameNames(t, "eventKinds", slices.Collect(maps.Keys(eventKinds)), there)
	if len(there) < 30 {
		t.Errorf("this test finds only %q", there)
	}
	for message, kind := range eventKinds {
		if !slices.Contains(kinds, string(kind)) {
			t.Errorf("%q is of kind %q, which has no constant", message, kind)
		}
	}
	for _, kind := range kinds {
		if !slices.Contains(slices.Collect(maps.Values(eventKinds)), EventKind(kind)) {
			t.Errorf("no event is of kind %q", kind)
		}
	}
}

// eventKindsOf are the values of the constants.
func eventKindsOf(sources map[string]*ast.File) (kinds []string) {
	for _, file := range sources {
		for _, decl := range file.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				if of, ok := v.Type.(*ast.Ident); ok && of.Name == "EventKind" {
					kinds = append(kinds, literal(v.Values[0]))
				}
			}
		}
	}
	return kinds
}
