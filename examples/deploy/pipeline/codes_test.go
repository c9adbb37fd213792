//go:build linux

package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// standIn answers in release.sh's place: to each verb with the codes that a file has for it, in turn, the last one
// again and again. It writes down what was asked.
const standIn = `
echo "$1" >>"$SAID"
read -r code rest <"$CODES/$1"
[ -z "$rest" ] || echo "$rest" >"$CODES/$1"
exit "$code"
`

// TestCodes: whatever code release.sh ends with, that of deploy.sh and its words say what is so. What has touched
// nothing is not rolled back.
func TestCodes(t *testing.T) {
	dir := flow.Dir(t)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(flow.Examples(), "deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, text := range map[string]string{
		"tools/common.sh": read("common.sh"),
		// Its settings are known, and it is not run.
		"tools/release.sh": "SAID='" + dir + "/said' CODES='" + dir + "/codes'\n" + standIn + read("release.sh"),
		"env.env":          "METHOD=swap\nNODES=a\nSTATE=" + dir + "/state\n",
		"dist/app":         "app",
		"codes/status":     "", // for the folder
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &site{t: t, dir: dir}
	flow.WriteFile(t, dir, "half.env", "METHOD=swap\nNODES=a\n")
	said, code := flow.Run(t, s.step("./deploy.sh half", "ENVS="+dir, "TOOLS="+filepath.Join(dir, "tools")))
	if code != 6 || !strings.Contains(said, "half.env does not set STATE") {
		t.Errorf("without STATE: exit code %d, want 6 and what is missing: %s", code, said)
	}
	const clear, left = "0", "1"
	for _, c := range []struct {
		upgrade, after, rollback string // codes of upgrade, of status after it, and of rollback
		code                     int
		say, asked               string
	}{
		{"0", clear, "", 0, "done", "upgrade"},
		{"8", clear, "", 0, "done", "upgrade"},
		{"1", left, "0", 1, "rolled back", "upgrade status rollback"},
		{"1", left, "8", 1, "rolled back", "upgrade status rollback"},
		{"2", clear, "", 2, "", "upgrade"},
		{"3", clear, "", 1, "rolled back", "upgrade"},
		{"4", left, "0", 1, "rolled back", "upgrade status rollback"},
		{"4", left, "4", 4, "the way back failed", "upgrade status rollback"},
		{"5", clear, "", 5, "nothing was touched", "upgrade status"},
		{"5", left, "0", 1, "rolled back", "upgrade status rollback"},
		{"6", clear, "", 6, "", "upgrade"},
		{"7", left, "", 7, "", "upgrade"}, // another's
		{"9", clear, "", 9, "nothing was touched", "upgrade status"},
		{"9", left, "0", 1, "rolled back", "upgrade status rollback"},
		{"9", left, "9", 4, "the way back failed", "upgrade status rollback"},
		{"137", left, "0", 1, "rolled back", "upgrade status rollback"},
		{"137", clear, "", 4, "see what runs", "upgrade status"},
		{"129", clear, "", 4, "see what runs", "upgrade status"},
	} {
		for name, codes := range map[string]string{
			"status": clear + " " + c.after, "upgrade": c.upgrade, "rollback": c.rollback,
		} {
			flow.WriteFile(t, filepath.Join(dir, "codes"), name, codes+"\n")
		}
		_ = os.Remove(filepath.Join(dir, "said"))
		said, code := flow.Run(t, s.step("./deploy.sh env", "ENVS="+dir, "TOOLS="+filepath.Join(dir, "tools")))
		asked, _ := os.ReadFile(filepath.Join(dir, "said"))
		if got := strings.Join(strings.Fields(string(asked)), " "); code != c.code || !strings.Contains(said, c.say) ||
			got != "status "+c.asked || c.say != "rolled back" && strings.Contains(said, "rolled back") {
			t.Errorf("%s: exit code %d, want %d and %q; it says %q; release.sh was asked for %s, want status %s",
				fmt.Sprint(c.upgrade, " ", c.after, " ", c.rollback), code, c.code, c.say, said, got, c.asked)
		}
	}
}
