package drain

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
