//go:build linux

package flow

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// tried notes failures instead of failing.
type tried struct {
	testing.TB
	errors []string
}

func (t *tried) Helper()    {}
func (t *tried) Log(...any) {}
func (t *tried) Errorf(format string, args ...any) {
	t.errors = append(t.errors, fmt.Sprintf(format, args...))
}

// TestKindSeesALoss: and that nothing has been sent, and that there is no line.
func TestKindSeesALoss(t *testing.T) {
	t.Setenv("BATON_TABLE", "")
	for want, k := range map[string]Kind{
		"1 of 9 lost":      {Name: "none", Client: "none", Sent: 9, Lost: 1},
		"nothing was sent": {Name: "none", Client: "none"},
		"no line":          {Name: "none", Client: "none", Sent: 9, Lost: 1, Except: "of this test"},
	} {
		tb := &tried{TB: t}
		k.Report(tb)
		if got := strings.Join(tb.errors, "\n"); !strings.Contains(got, want) {
			t.Errorf("%+v: %q, want %q", k, got, want)
		}
		if k.Except != "" && len(tb.errors) > 1 {
			t.Errorf("%+v: %q, want the missing line only", k, tb.errors)
		}
	}
}

func TestTablesKeepToThemselves(t *testing.T) {
	const before = "text\n<!-- a -->\nhead\n| x | 1 |\n<!-- /a -->\n<!-- b -->\n<!-- /b -->\nmore\n"
	path := WriteFile(t, t.TempDir(), "README.md", before)
	a, b := table{"a", "head\n"}, table{"b", "other\n"}
	for _, put := range []struct {
		table
		key, line string
	}{{b, "| z |", "| z | 1 |"}, {b, "| y |", "| y | 1 |"}, {a, "| x |", "| x | 2 |"}} {
		if err := put.put(path, put.key, put.line, false); put.name == "b" && err == nil {
			t.Errorf("%s is there before it is put there", put.key)
		}
		if err := put.put(path, put.key, put.line, true); err != nil {
			t.Fatal(err)
		}
		if err := put.put(path, put.key, "", false); err != nil {
			t.Error(err)
		}
	}
	want := "text\n<!-- a -->\nhead\n| x | 2 |\n<!-- /a -->\n" +
		"<!-- b -->\nother\n| y | 1 |\n| z | 1 |\n<!-- /b -->\nmore\n"
	if got, _ := os.ReadFile(path); string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := (table{"c", ""}).put(path, "| x |", "| x | 2 |", false); err == nil {
		t.Error("a table that is not there: no error")
	}
}
