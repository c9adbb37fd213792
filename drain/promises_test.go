package drain

import (
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-go/baton/health"
)

// Each test that PROMISES.md names is there, and each promise in it names one.
func TestPromisesAreHeld(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../PROMISES.md")
	if err != nil {
		t.Fatal(err)
	}
	there := testsByPackage(t)
	named := regexp.MustCompile("`([a-z0-9]+\\.(?:Test|Fuzz|Example)\\w+)`")
	promises := 0
	for line := range strings.Lines(string(text)) {
		tests := named.FindAllStringSubmatch(line, -1)
		for _, test := range tests {
			if !there[test[1]] {
				t.Errorf("PROMISES.md names %s, which is no test: name the one that holds the promise now", test[1])
			}
		}
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| promise |") {
			continue
		}
		if promises++; len(tests) == 0 {
			t.Errorf("no test holds %s", cells[1])
		}
	}
	if promises == 0 {
		t.Error("PROMISES.md holds no promise")
	}
}

// testsByPackage finds the tests of the repository, by the name of each folder that they are in, and their own.
func testsByPackage(t *testing.T) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w+)\(`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && len(d.Name()) > 2 && d.Name()[0] == '.':
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
			for _, folder := range strings.Split(filepath.ToSlash(filepath.Dir(path)), "/") {
				there[folder+"."+m[1]] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}

// GUIDE.md's table of the configuration names fields that exist, and their defaults.
func TestGuideSaysTheDefaults(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../GUIDE.md")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Config{}.complete()
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Configuration\n")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| (`\\w+`(?:, `\\w+`)*) \\| ([^|]*) \\|").FindAllStringSubmatch(table, -1)
	if len(rows) == 0 {
		t.Fatal("no table")
	}
	for _, row := range rows {
		for _, name := range regexp.MustCompile(`\w+`).FindAllString(row[1], -1) {
			f := reflect.ValueOf(cfg).FieldByName(name)
			if !f.IsValid() {
				t.Errorf("Config has no field %s", name)
				continue
			}
			is := fmt.Sprint(f)
			switch {
			case name == "IdleGrace":
				is = fmt.Sprintf("%v in a swap, %v in a stop", swapGrace, stopGrace)
			case name == "SessionSpread":
				is = fmt.Sprintf("%v a session, `IdleGrace` at most", sessionShare)
			case name == "Failures": // health's own
				h, _ := health.New(health.Config{Failures: cfg.Failures})
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/ping", nil))
				is = fmt.Sprint(h.Probers()[0].Needs)
			case f.IsZero() && name != "Keeper":
				is = "none"
			}
			if row[2] != is {
				t.Errorf("the default of %s is said to be %s, and is %s", name, row[2], is)
			}
		}
	}
}
