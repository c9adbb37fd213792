package lifecycle

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestTableInArchitecture: the tables in ARCHITECTURE.md are what Step does.
func TestTableInArchitecture(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{tableOf(t, "Old", oldSide), tableOf(t, "New", newSide)} {
		if !strings.Contains(string(page), table) {
			t.Errorf("ARCHITECTURE.md lacks this table:\n%s", table)
		}
	}
}

// flags are what Step looks at besides the phase and the event, by name.
type flags map[string]bool

// step is one call of Step: what the side becomes, and does.
type step func(phase, event, ticks int, f flags) (becomes int, effects []int)

func oldSide(phase, event, ticks int, f flags) (becomes int, does []int) {
	o, effects := Old{Phase: OldPhase(phase), Mute: f["Mute"], Ticks: ticks}.Step(OldEvent(event))
	for _, e := range effects {
		does = append(does, int(e))
	}
	return int(o.Phase), does
}

func newSide(phase, event, ticks int, f flags) (becomes int, does []int) {
	n := New{Phase: NewPhase(phase), Alone: f["Alone"], Trusts: f["Trusts"], Owns: f["Owns"],
		Told: f["Told"], Ticks: ticks}
	n, effects := n.Step(NewEvent(event))
	for _, e := range effects {
		does = append(does, int(e))
	}
	return int(n.Phase), does
}

// tableOf writes what a side does, a row for each event that changes something.
func tableOf(t *testing.T, side string, s step) string {
	phases, events := constants(t, side+"Phase"), constants(t, side+"Event")
	effects := constants(t, side+"Effect")
	var rows []string
	from := map[string][]string{}
	for event, what := range events {
		for phase, name := range phases {
			for ticks := range 20 {
				if ticks > 0 && !strings.HasSuffix(what, "Tick") {
					break
				}
				found := s.rows(phase, event, ticks)
				for condition, to := range found {
					if ticks > 0 {
						condition = strings.TrimSpace(fmt.Sprintf("%d times %s", ticks+1, condition))
					}
					var does []string
					for _, e := range to.does {
						does = append(does, effects[e])
					}
					key := fmt.Sprintf("%s | %s | %s |", strings.TrimSpace(what+" "+condition),
						phases[to.becomes], cmp.Or(strings.Join(does, ", "), "–"))
					if from[key] == nil {
						rows = append(rows, key)
					}
					from[key] = append(from[key], name)
				}
				if len(found) > 0 {
					break
				}
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| %s is | and hears | becomes | does |\n| --- | --- | --- | --- |\n", side)
	slices.Sort(rows) // by event; those of one event by what they depend on
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s | %s\n", strings.Join(from[row], ", "), row)
	}
	return b.String()
}

type outcome struct {
	becomes int
	does    []int
}

// rows returns what changes, by the flag that it depends on: "" if on none.
func (s step) rows(phase, event, ticks int) map[string]outcome {
	changes := func(f flags) (outcome, bool) {
		becomes, does := s(phase, event, ticks, f)
		return outcome{becomes, does}, becomes != phase || len(does) > 0
	}
	names := []string{"Mute", "Alone", "Trusts", "Told"}
	rows := map[string]outcome{}
	none, changed := changes(flags{})
	if changed {
		rows[""] = none
	}
	for _, name := range names {
		with, also := changes(flags{name: true})
		if fmt.Sprint(with, also) == fmt.Sprint(none, changed) {
			continue
		}
		delete(rows, "")
		if changed {
			rows["unless "+name] = none
		}
		if also {
			rows["if "+name] = with
		}
	}
	return rows
}

// constants returns the names of a type's constants, in order.
func constants(t *testing.T, of string) (names []string) {
	t.Helper()
	for _, path := range []string{"old.go", "new.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			group, ok := d.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			first, ok := group.Specs[0].(*ast.ValueSpec).Type.(*ast.Ident)
			if !ok || first.Name != of {
				continue
			}
			for _, spec := range group.Specs {
				if name := spec.(*ast.ValueSpec).Names[0].Name; ast.IsExported(name) {
					names = append(names, name)
				}
			}
		}
	}
	if len(names) == 0 {
		t.Fatalf("no constants of type %s", of)
	}
	return names
}
