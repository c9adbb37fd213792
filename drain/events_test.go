package drain

import (
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestEachEventHasAKind: each kind is told of, those of the machine by the same name.
func TestEachEventHasAKind(t *testing.T) {
	t.Parallel()
	sources := librarySources(t)
	uses := map[string]int{} // of a constant, its declaration among them
	for _, file := range sources {
		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				uses[id.Name]++
			}
			return true
		})
	}
	events, machines := constantsOf(sources, "EventKind"), constantsOf(sources, "Kind")
	for name, kind := range events {
		in := ""
		for other, same := range machines {
			if same == kind {
				in = other
			}
		}
		if uses[name] < 2 && uses[in] < 2 {
			t.Errorf("no event is of kind %q", kind)
		}
	}
	kinds := slices.Collect(maps.Values(events))
	for name, kind := range machines {
		if strings.HasPrefix(name, "Kind") && !slices.Contains(kinds, kind) {
			t.Errorf("the machine tells of kind %q, which is none of drain's", kind)
		}
	}
	if len(events) < 25 || len(machines) < 10 {
		t.Errorf("this test finds only %d and %d kinds", len(events), len(machines))
	}
}

// constantsOf are the constants of a type, and their values.
func constantsOf(sources map[string]*ast.File, of string) map[string]string {
	all := map[string]string{}
	for _, file := range sources {
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
				if id, ok := v.Type.(*ast.Ident); ok && id.Name == of {
					all[v.Names[0].Name] = literal(v.Values[0])
				}
			}
			return true
		})
	}
	return all
}
