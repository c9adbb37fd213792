//go:build linux

package flow

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A table stands in examples/README.md between <!-- name --> and <!-- /name -->.
type table struct{ name, head string }

var flows = table{"flows", "| flow | operation | requests | failed | took |\n| --- | --- | --- | --- | --- |\n"}

// Report ends the load, asserts that nothing has failed, and prints the line
// of the table in examples/README.md: what was done, and for how long that
// took. With BATON_TABLE=1 the line there is replaced; without, a line of that
// flow and operation must be there.
func (l *Load) Report(flow, operation string, took time.Duration) {
	l.t.Helper()
	l.End()
	l.t.Log(l)
	if n := l.Failed(); n > 0 {
		l.t.Errorf("%s: %s: %d of %d requests failed, want 0", flow, operation, n, l.Requests())
	}
	key := fmt.Sprintf("| %s | %s |", flow, operation)
	line := fmt.Sprintf("%s %d | %d | %.1f s |", key, l.Requests(), l.Failed(), took.Seconds())
	flows.report(l.t, key, line)
}

func (tb table) report(t testing.TB, key, line string) {
	t.Helper()
	t.Log(line)
	if err := tb.put(filepath.Join(Examples(), "README.md"), key, line, os.Getenv("BATON_TABLE") != ""); err != nil {
		t.Errorf("examples/README.md: %v", err)
	}
}

// put looks the line that begins with key up, or puts line in its place by the alphabet.
func (tb table) put(path, key, line string, replace bool) error {
	begin, end := "<!-- "+tb.name+" -->\n", "<!-- /"+tb.name+" -->"
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// Tests of several packages run side by side.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), begin)
	lines, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("it has no %q and %q", begin, end)
	}
	lines = strings.TrimPrefix(lines, tb.head)
	rows := strings.Split(strings.TrimSuffix(lines, "\n"), "\n")
	i := slices.IndexFunc(rows, func(row string) bool { return strings.HasPrefix(row, key) })
	if !replace {
		if i < 0 {
			return fmt.Errorf("no line %q: run the test with BATON_TABLE=1", key)
		}
		return nil
	}
	if i >= 0 {
		rows[i] = line
	} else {
		rows = append(rows, line)
	}
	rows = slices.DeleteFunc(rows, func(row string) bool { return row == "" })
	slices.Sort(rows)
	text = []byte(before + begin + tb.head + strings.Join(rows, "\n") + "\n" + end + after)
	// In place, not by rename: the lock is the file's.
	return os.WriteFile(path, text, 0o644)
}
