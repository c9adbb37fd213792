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
		if !strings.Contains(string(page), table+"\n") { // the page has no more rows, either
			t.Errorf("ARCHITECTURE.md lacks this table:\n%s", table)
		}
	}
}

// flags are what Step looks at besides the phase and the event, by name.
type flags map[string]bool

// step is one call of Step: what the side becomes, and does.
type step func(phase, event, ticks, extra int, f flags) (becomes int, effects []int)

func oldSide(phase, event, ticks, extra int, f flags) (becomes int, does []int) {
	o := Old{Phase: OldPhase(phase), Mute: f["Mute"], Ticks: ticks, Extra: extra}
	o, effects := o.Step(OldEvent(event))
	for _, e := range effects {
		does = append(does, int(e))
	}
	return int(o.Phase), does
}

func newSide(phase, event, ticks, _ int, f flags) (becomes int, does []int) {
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
				found := s.rows(t, phase, event, ticks, 0)
				for condition, to := range found {
					const extra = 3
					count := fmt.Sprint(ticks + 1)
					if len(s.rows(t, phase, event, ticks+extra-1, extra)) == 0 {
						count += " + Extra"
					}
					if ticks > 0 {
						condition = strings.TrimSpace(count + " times " + condition)
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

// rows returns what changes, by the flags that it depends on: "" if on none.
func (s step) rows(t *testing.T, phase, event, ticks, extra int) map[string]outcome {
	t.Helper()
	names := []string{"Mute", "Alone", "Trusts", "Owns", "Told"}
	all := make([]outcome, 1<<len(names)) // by the set of flags that are true
	for set := range all {
		f := flags{}
		for i, name := range names {
			f[name] = set>>i&1 == 1
		}
		all[set].becomes, all[set].does = s(phase, event, ticks, extra, f)
	}
	rows := map[string]outcome{}
	for set, o := range all {
		if o.becomes == phase && len(o.does) == 0 {
			continue
		}
		var on []string
		fixed := 0
		for i, name := range names {
			if fmt.Sprint(all[set^1<<i]) == fmt.Sprint(o) {
				continue
			}
			fixed |= 1 << i
			on = append(on, map[bool]string{true: "if ", false: "unless "}[set>>i&1 == 1]+name)
		}
		for other := range all {
			if other&fixed == set&fixed && fmt.Sprint(all[other]) != fmt.Sprint(o) {
				t.Fatalf("phase %d, event %d: what happens depends on more than %q", phase, event, on)
			}
		}
		rows[strings.Join(on, ", ")] = o
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
