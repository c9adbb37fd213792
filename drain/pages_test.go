package drain

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	longestREADME = 1000 // words, as wc counts them
	onlyHere      = "<!-- only here"
)

// TestREADMEIsShort holds the page for newcomers down: the rest has pages of its own.
func TestREADMEIsShort(t *testing.T) {
	t.Parallel()
	if n := len(strings.Fields(page(t, "README.md"))); n > longestREADME {
		t.Errorf("README.md has %d words, %d at most: move something to the page that it belongs to", n, longestREADME)
	}
}

// TestREADMEsAreInStep: what is not language is the same in both READMEs, section by section. The Chinese one may go
// on where the English one ends.
func TestREADMEsAreInStep(t *testing.T) {
	t.Parallel()
	english := sectionsOf(page(t, "README.md"))
	translated, _, _ := strings.Cut(page(t, "README.zh-CN.md"), onlyHere)
	chinese := sectionsOf(translated)
	if len(chinese) != len(english) {
		t.Fatalf("README.zh-CN.md has %d sections before %q, README.md %d", len(chinese), onlyHere, len(english))
	}
	for i := range english {
		title, _, _ := strings.Cut(english[i], "\n")
		there, here := notLanguage(english[i]), notLanguage(chinese[i])
		for what, want := range there {
			if got := here[what]; !slices.Equal(got, want) {
				t.Errorf("section %q: README.zh-CN.md has other %s than README.md\n%q\n%q", title, what, got, want)
			}
		}
	}
}

func sectionsOf(page string) []string { return strings.Split(page, "\n## ") }

var (
	blocks   = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	spans    = regexp.MustCompile("`[^`\n]+`")
	links    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	markers  = regexp.MustCompile(`<!-- \S+ -->`)
	figures  = regexp.MustCompile(`\d+(?:\.\d+)*`)
	headings = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// notLanguage is what a translation keeps, each kind in an order of its own: sentences may turn around.
func notLanguage(section string) map[string][]string {
	code := blocks.FindAllString(section, -1)
	text := blocks.ReplaceAllString(section, "")
	targets := links.FindAllString(text, -1)
	// Links to each other are not the same.
	targets = slices.DeleteFunc(targets, func(l string) bool { return strings.HasPrefix(l, "](README.") })
	text = links.ReplaceAllString(text, "]")
	quoted := spans.FindAllString(text, -1)
	numbers := figures.FindAllString(spans.ReplaceAllString(text, ""), -1)
	for _, kind := range [][]string{targets, quoted, numbers} {
		slices.Sort(kind)
	}
	return map[string][]string{
		"commands": code, "links": targets, "code": quoted, "figures": numbers,
		"markers": markers.FindAllString(section, -1),
	}
}

// TestLinesOfPages: a page is read in a terminal, too. Code, tables and pictures are as wide as they are.
func TestLinesOfPages(t *testing.T) {
	t.Parallel()
	const most = 120
	for _, name := range pages(t) {
		if strings.HasSuffix(name, ".zh-CN.md") { // Markdown makes a blank of a line's end, and Chinese has none
			continue
		}
		prose := blocks.ReplaceAllStringFunc(page(t, name), func(code string) string {
			return strings.Repeat("\n", strings.Count(code, "\n"))
		})
		for i, line := range strings.Split(prose, "\n") {
			wide := strings.HasPrefix(line, "|") || strings.HasPrefix(line, "![") || strings.HasPrefix(line, "<img ")
			if n := utf8.RuneCountInString(line); n > most && !wide {
				t.Errorf("%s:%d has %d columns, %d at most", name, i+1, n, most)
			}
		}
	}
}

// TestLinksOfPages: what the pages link to in the repository is there, down to the heading.
func TestLinksOfPages(t *testing.T) {
	t.Parallel()
	for _, name := range pages(t) {
		for _, m := range links.FindAllStringSubmatch(blocks.ReplaceAllString(page(t, name), ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") {
				continue
			}
			path := filepath.Join(filepath.Dir(name), target)
			if target == "" {
				path = name
			}
			if _, err := os.Stat(filepath.Join("..", path)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			} else if anchor != "" && !slices.Contains(anchorsOf(page(t, path)), anchor) {
				t.Errorf("%s links to %s: %s has no such heading", name, m[1], path)
			}
		}
	}
}

// TestFilesOnPagesAreThere: so are the Go files that pages name.
func TestFilesOnPagesAreThere(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("`([a-z0-9_]+(?:/[a-z0-9_]+)*\\.go)`")
	found := 0
	for _, name := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(page(t, name), -1) {
			var there []string
			for _, folder := range []string{"", filepath.Dir(name), "*", "*/internal/*", "examples/*", "examples/*/*"} {
				matches, _ := filepath.Glob(filepath.Join("..", folder, m[1]))
				there = append(there, matches...)
			}
			if found++; len(there) == 0 {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("%d files are named, want more: the expression finds them no longer", found)
	}
}

// anchorsOf are the names by which GitHub knows the headings of a page.
func anchorsOf(page string) (anchors []string) {
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, m := range headings.FindAllStringSubmatch(blocks.ReplaceAllString(page, ""), -1) {
		anchor := dropped.ReplaceAllString(strings.ToLower(m[1]), "")
		anchors = append(anchors, strings.ReplaceAll(anchor, " ", "-"))
	}
	return anchors
}

// TestProgramsOnPagesCompile vets each whole program that a page shows, in the module of the examples, which has Gin.
func TestProgramsOnPagesCompile(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	t.Parallel()
	seen := map[string]bool{} // README.zh-CN.md has what README.md has
	for _, name := range pages(t) {
		for _, m := range blocks.FindAllStringSubmatch(page(t, name), -1) {
			if m[1] != "go" || !strings.HasPrefix(m[2], "package main\n") || seen[m[2]] {
				continue
			}
			seen[m[2]] = true
			file := filepath.Join(t.TempDir(), "main.go")
			if err := os.WriteFile(file, []byte(m[2]), 0o600); err != nil {
				t.Fatal(err)
			}
			vet := exec.CommandContext(t.Context(), "go", "-C", "../examples", "vet", file)
			if out, err := vet.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s%s", name, err, out, m[2])
			}
		}
	}
	if len(seen) == 0 {
		t.Error("no page shows a program")
	}
}

// TestPortsAreFound has the command of MIGRATING.md look at what a program may say about its ports.
func TestPortsAreFound(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	_, command, _ := strings.Cut(page(t, "MIGRATING.md"), "<!-- ports -->\n```sh\n")
	command, _, _ = strings.Cut(command, "```")
	for line, want := range map[string]bool{
		`ln, err := net.Listen("tcp", a)`:            true,
		`pc, err := net.ListenUDP("udp", a)`:         true,
		`tls.Listen("tcp", a, c)`:                    true,
		`log.Fatal(http.ListenAndServe(":9090", h))`: true,
		`go srv.ListenAndServeTLS("c", "k")`:         true,
		`r.Run()`:                                    true,
		`router.Run(cfg.Addr)`:                       true,
		`e.Logger.Fatal(e.Start(":8080"))`:           true,
		`(&net.ListenConfig{}).Listen(ctx, n, a)`:    true,
		`app.Listen(":3000")`:                        true,
		`r.RunTLS(":443", "c", "k")`:                 true,
		`svc.Listen("tcp", addr)`:                    false,
		`drain.ListenAndServe(":8080", h)`:           false,
		`svc.Run(ctx)`:                               false,
		`cmd.Start()`:                                false,
	} {
		grep := exec.Command("bash", "-c", command)
		grep.Dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(grep.Dir, "main.go"), []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := grep.Output(); strings.Contains(string(out), line) != want {
			t.Errorf("%s: found is %t, want %t (%v)", line, !want, want, err)
		}
	}
}

// pages are the Markdown files of the repository.
func pages(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if err == nil && filepath.Ext(path) == ".md" {
			name, _ := filepath.Rel("..", path)
			names = append(names, name)
		}
		return err
	})
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	return names
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
