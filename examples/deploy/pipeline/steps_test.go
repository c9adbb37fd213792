//go:build linux

package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) { flow.Main(m) }

func folder() string { return filepath.Join(flow.Examples(), "deploy", "pipeline") }

// tools are what runs the steps: the file that has them, and the variable in
// which the version comes.
var tools = []tool{
	{".gitlab-ci.yml", "CI_COMMIT_SHORT_SHA", gitlab},
	{"Jenkinsfile", "GIT_COMMIT", jenkins},
}

type tool struct {
	name, version string
	read          func(testing.TB) (steps, byHand []string)
}

// job is what .gitlab-ci.yml uses of GitLab's keywords. Another one is an error.
type job struct {
	Stage         string            `json:"stage"`
	Script        []string          `json:"script"`
	Artifacts     map[string]any    `json:"artifacts"`
	Environment   string            `json:"environment"`
	ResourceGroup string            `json:"resource_group"`
	Interruptible *bool             `json:"interruptible"`
	Needs         []string          `json:"needs"`
	When          string            `json:"when"`
	AllowFailure  bool              `json:"allow_failure"`
	Variables     map[string]string `json:"variables"`
}

// gitlab returns the steps of the stages in their order, and those that
// somebody has to start by hand.
func gitlab(t testing.TB) (steps, byHand []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder(), ".gitlab-ci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var parts map[string]any
	if err := yaml.UnmarshalStrict(text, &parts); err != nil {
		t.Fatal(err)
	}
	var stages []string
	jobs := map[string]job{}
	for name, part := range parts {
		one, _ := yaml.Marshal(part)
		var err error
		switch name {
		case "stages":
			err = yaml.UnmarshalStrict(one, &stages)
		case "workflow":
		default:
			var j job
			err = yaml.UnmarshalStrict(one, &j)
			jobs[name] = j
		}
		if err != nil {
			t.Fatalf(".gitlab-ci.yml: %s: %v", name, err)
		}
	}
	for _, stage := range stages {
		for name, j := range jobs {
			for _, need := range j.Needs {
				if _, ok := jobs[need]; !ok {
					t.Errorf(".gitlab-ci.yml: %s needs %s, which is not there", name, need)
				}
			}
			if !slices.Contains(stages, j.Stage) {
				t.Errorf(".gitlab-ci.yml: %s is of stage %q, want one of %q", name, j.Stage, stages)
			}
			switch {
			case j.Stage != stage:
			case j.When == "manual":
				byHand = append(byHand, j.Script...)
			default:
				steps = append(steps, j.Script...)
			}
		}
	}
	return steps, byHand
}

var (
	jenkinsStage = regexp.MustCompile(`(?s)\n {8}stage\('([^']+)'\) \{\n(.*?)\n {8}\}`)
	jenkinsStep  = regexp.MustCompile(`\bsh\b.*`)
	jenkinsPlain = regexp.MustCompile(`^sh '([^'\\$]+)'$`)
)

// jenkins returns the steps of the stages that always run, and of those that
// take a parameter.
func jenkins(t testing.TB) (steps, byHand []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder(), "Jenkinsfile"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), "{") != strings.Count(string(text), "}") {
		t.Error("Jenkinsfile: a brace is missing")
	}
	found := 0
	for _, stage := range jenkinsStage.FindAllStringSubmatch(string(text), -1) {
		for _, line := range jenkinsStep.FindAllString(stage[2], -1) {
			step := jenkinsPlain.FindStringSubmatch(line)
			if step == nil {
				t.Errorf("Jenkinsfile: %s: want a plain step in single quotes, and not %s", stage[1], line)
				continue
			}
			found++
			if strings.Contains(stage[2], "when { expression { params.") {
				byHand = append(byHand, step[1])
			} else {
				steps = append(steps, step[1])
			}
		}
	}
	if all := len(regexp.MustCompile(`(?m)^\s*sh\b`).FindAllString(string(text), -1)); all != found {
		t.Errorf("Jenkinsfile: %d steps, of which the test sees %d", all, found)
	}
	return steps, byHand
}

// TestStepsAreScripts: nothing inline, and the same by both tools.
func TestStepsAreScripts(t *testing.T) {
	plain := regexp.MustCompile(`^\./([a-z]+\.sh)( [a-z]+)*$`)
	var first string
	for _, tool := range tools {
		steps, byHand := tool.read(t)
		for _, step := range append(slices.Clone(steps), byHand...) {
			script := plain.FindStringSubmatch(step)
			if script == nil {
				t.Errorf("%s: %q is more than a script and its arguments", tool.name, step)
				continue
			}
			if info, err := os.Stat(filepath.Join(folder(), script[1])); err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("%s: %s is no executable file: %v", tool.name, script[1], err)
			}
		}
		all := fmt.Sprint(steps, byHand)
		if first == "" {
			first = all
		}
		if all != first {
			t.Errorf("%s does %s, the other %s", tool.name, all, first)
		}
		if len(steps) != 3 || len(byHand) != 1 {
			t.Errorf("%s: %d steps and %d by hand, want 3 and 1", tool.name, len(steps), len(byHand))
		}
	}
}
