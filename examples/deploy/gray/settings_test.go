//go:build linux

package gray

import (
	"os/exec"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestSettings: what is a setting, and that all else is an error and is not run.
func TestSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, shell := range [][]string{{"dash"}, {"busybox", "sh"}} {
		flow.Tool(t, shell[0], "apt-get install "+shell[0])
		for line, want := range map[string]string{
			"A=1":                    "1",
			"A=":                     "",
			`A=""`:                   "",
			"A=a=b#c;d&e":            "a=b#c;d&e",
			"A=30s      # fall":      "30s",
			"A='x y'\t# why":         "x y",
			`A="it's"`:               "it's",
			`A='"$b" \'`:             `"$b" \`,
			"# A=2\n\nA=1":           "1",
			"A=2\nA=1":               "1",
			"A":                      "6",
			"A=b c":                  "6",
			"A=b\\ c":                "6",
			"A=$HOME":                "6",
			`A="$HOME"`:              "6",
			"A=`id`":                 "6",
			"A=$(id)":                "6",
			`A="b`:                   "6",
			"A='b' C=2":              "6",
			"export A=1":             "6",
			" A=1":                   "6",
			"A-B=1":                  "6",
			"1A=2":                   "6",
			"=1":                     "6",
			"A=1\nif true; then A=2": "6",
		} {
			file := flow.WriteFile(t, dir, "settings", line) // the last line need not end
			cmd := exec.Command(shell[0], append(shell[1:len(shell):len(shell)], "-c",
				`. ../common.sh; (settings "$0") 2>/dev/null || { printf %s $?; exit; }; `+
					`settings "$0"; printf %s "$A"`, file)...)
			if got, err := cmd.Output(); string(got) != want || err != nil {
				t.Errorf("%s: %q: A is %q, want %q (%v)", shell[0], line, got, want, err)
			}
		}
	}
}
